import pytest

from mnas.network.fusion import ConvolutionGroup, fuse
from search_space.lowering import Activation, BatchNorm, Convolution, GlobalAveragePool, Layer

CONVOLUTION = Convolution("a", 4, 8, 3, 1, 1, 16)
NORM = BatchNorm("a_norm", 8)
RELU = Activation("relu")


def test_a_convolution_takes_its_norm_and_activation() -> None:
    assert fuse((CONVOLUTION, NORM, RELU)) == (ConvolutionGroup(CONVOLUTION, NORM, RELU),)


def test_a_convolution_without_activation_leaves_the_next_layer_alone() -> None:
    pool = GlobalAveragePool(8)
    assert fuse((CONVOLUTION, NORM, pool)) == (ConvolutionGroup(CONVOLUTION, NORM, None), pool)


@pytest.mark.parametrize("layers", [(CONVOLUTION,), (CONVOLUTION, RELU), (NORM, RELU)])
def test_a_convolution_and_its_norm_cannot_stand_apart(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(ValueError, match="stands alone"):
        fuse(layers)
