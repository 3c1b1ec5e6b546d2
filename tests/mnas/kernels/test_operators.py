"""Each kernel against MindSpore's own operators: outputs, gradients and what it changes in place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnas.kernels.library import machine_has_kernels
from mnas.mindspore_setup import Compute, prepare_mindspore

pytestmark = pytest.mark.skipif(not machine_has_kernels(), reason="the kernels are not compiled for this machine")

Floats = NDArray[np.float32]


def random(*shapes: tuple[int, ...]) -> list[Floats]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]


def value_and_gradients(function: Callable[..., Any], arrays: list[Floats]) -> list[Floats]:
    """The function's value, and the gradients of its sum, weighted at random, with regard to every array."""
    import mindspore
    from mindspore import ops

    def weighted(*tensors: mindspore.Tensor) -> tuple[mindspore.Tensor, mindspore.Tensor]:
        value = function(*tensors)
        return (value * weights).sum(), value

    tensors = [mindspore.Tensor(array) for array in arrays]
    weights = mindspore.Tensor(np.random.default_rng(1).standard_normal(function(*tensors).shape).astype(np.float32))
    (_, value), gradients = ops.value_and_grad(weighted, tuple(range(len(arrays))), None, has_aux=True)(*tensors)
    return [value.asnumpy(), *(gradient.asnumpy() for gradient in gradients)]


def assert_equal(ours: list[Floats], theirs: list[Floats]) -> None:
    for own, plain in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, plain, rtol=1e-5, atol=1e-5 * np.abs(plain).max())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "size"), [(3, 16), (3, 2), (3, 7), (5, 9), (5, 1), (7, 8), (1, 5)])
def test_depthwise_convolution(kernel: int, size: int, stride: int) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import ops

    from mnas.kernels.operators import depthwise_convolution

    own = depthwise_convolution(stride)
    plain = ops.Conv2D(5, kernel, pad_mode="pad", pad=kernel // 2, stride=stride, group=5)
    arrays = random((3, 5, size, size), (5, 1, kernel, kernel))
    assert_equal(value_and_gradients(own, arrays), value_and_gradients(plain, arrays))


def test_depthwise_convolution_of_a_plane_that_is_not_square() -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import ops

    from mnas.kernels.operators import depthwise_convolution

    plain = ops.Conv2D(4, 3, pad_mode="pad", pad=1, stride=2, group=4)
    arrays = random((2, 4, 6, 11), (4, 1, 3, 3))
    assert_equal(value_and_gradients(depthwise_convolution(2), arrays), value_and_gradients(plain, arrays))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("channels", "kernel", "size"),
    [
        ((3, 16), 3, 16),
        ((16, 5), 1, 8),  # planes read where they are
        ((7, 9), 1, 7),
        ((4, 8), 1, 2),  # planes of several images together
        ((5, 6), 3, 7),
        ((2, 3), 5, 9),
        ((6, 2), 5, 1),
        ((3, 4), 7, 8),
    ],
)
def test_full_convolution(channels: tuple[int, int], kernel: int, size: int, stride: int) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import ops

    from mnas.kernels.operators import full_convolution

    inputs, outputs = channels
    own = full_convolution(stride)
    plain = ops.Conv2D(outputs, kernel, pad_mode="pad", pad=kernel // 2, stride=stride)
    arrays = random((3, inputs, size, size), (outputs, inputs, kernel, kernel))
    assert_equal(value_and_gradients(own, arrays), value_and_gradients(plain, arrays))


@pytest.mark.parametrize("images", [1, 130])
def test_full_convolution_of_images_that_do_not_fill_the_last_group(images: int) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import ops

    from mnas.kernels.operators import full_convolution

    plain = ops.Conv2D(6, 3, pad_mode="pad", pad=1)
    arrays = random((images, 5, 4, 4), (6, 5, 3, 3))
    assert_equal(value_and_gradients(full_convolution(1), arrays), value_and_gradients(plain, arrays))


def test_full_convolution_of_a_plane_that_is_not_square() -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import ops

    from mnas.kernels.operators import full_convolution

    plain = ops.Conv2D(4, 3, pad_mode="pad", pad=1, stride=2)
    arrays = random((2, 3, 6, 11), (4, 3, 3, 3))
    assert_equal(value_and_gradients(full_convolution(2), arrays), value_and_gradients(plain, arrays))


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("size", [1, 5])
def test_batch_norm_with_activation(activation: str | None, size: int) -> None:
    prepare_mindspore(Compute(threads=1))
    import mindspore
    from mindspore import ops

    from mnas.kernels.operators import batch_norm, batch_norm_rule

    low, high = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[activation]
    rule = batch_norm_rule(1e-3, 0.9, low, high)
    own_norm, plain_norm = batch_norm(), ops.BatchNorm(is_training=True, epsilon=1e-3, momentum=0.1)
    activate = {None: ops.identity, "relu": ops.ReLU(), "relu6": ops.ReLU6()}[activation]
    x, gamma, beta, mean = random((6, 4, size, size), (4,), (4,), (4,))
    arrays = [x + 2, 4 * gamma, beta]
    own_moving, plain_moving = (
        [mindspore.Parameter(mindspore.Tensor(array), name=name) for name, array in (("m", mean), ("v", mean**2))]
        for _ in range(2)
    )

    def own(*tensors: mindspore.Tensor) -> mindspore.Tensor:
        return own_norm(*tensors, own_moving[0], own_moving[1], rule)[0]

    def plain(*tensors: mindspore.Tensor) -> mindspore.Tensor:
        return activate(plain_norm(*tensors, plain_moving[0], plain_moving[1])[0])

    assert_equal(value_and_gradients(own, arrays), value_and_gradients(plain, arrays))
    assert not np.allclose(own_moving[0].asnumpy(), mean)
    assert_equal(*([moving.asnumpy() for moving in pair] for pair in (own_moving, plain_moving)))


@pytest.mark.parametrize("size", [1, 4, 5])
def test_squeeze_excite(size: int) -> None:
    prepare_mindspore(Compute(threads=1))
    import mindspore
    from mindspore import ops

    from mnas.kernels.operators import squeeze_excite

    own_operator = squeeze_excite()

    def own(*tensors: mindspore.Tensor) -> mindspore.Tensor:
        return own_operator(*tensors)[0]

    def plain(x: mindspore.Tensor, w1: Any, b1: Any, w2: Any, b2: Any) -> mindspore.Tensor:
        scale = ops.relu(ops.conv2d(ops.mean(x, (2, 3), True), w1, b1))
        return x * ops.sigmoid(ops.conv2d(scale, w2, b2))

    arrays = random((3, 12, size, size), (4, 12, 1, 1), (4,), (12, 4, 1, 1), (12,))
    assert_equal(value_and_gradients(own, arrays), value_and_gradients(plain, arrays))


def test_what_is_not_a_number_stays_one() -> None:
    prepare_mindspore(Compute(threads=1))
    import mindspore

    from mnas.kernels.operators import batch_norm, batch_norm_rule

    x, gamma = np.ones((2, 3, 4, 4), np.float32), np.ones(3, np.float32)
    x[0, 1, 2, 3] = np.nan
    moving = [mindspore.Parameter(mindspore.Tensor(gamma), name=name) for name in ("mean", "variance")]
    tensors = [mindspore.Tensor(array) for array in (x, gamma, gamma)]
    y = batch_norm()(*tensors, *moving, batch_norm_rule(1e-3, 0.9, 0, 6))[0].asnumpy()
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()
