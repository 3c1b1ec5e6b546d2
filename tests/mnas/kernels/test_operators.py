"""Each kind of layer of the kernels against MindSpore's own operators: outputs, gradients and what is changed in place.

A layer is a program of its own, so that the operators of whole networks are tested, too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnas.kernels.library import machine_has_kernels
from mnas.kernels.program import Kind, Program, ProgramLayer
from mnas.mindspore_setup import Compute, prepare_mindspore
from search_space.architecture import ActivationKind
from search_space.lowering import (
    Activation,
    AveragePool,
    BatchNorm,
    Convolution,
    Dense,
    FitChannels,
    GlobalAveragePool,
    Layer,
    SqueezeExcite,
)

pytestmark = pytest.mark.skipif(not machine_has_kernels(), reason="the kernels are not compiled for this machine")

Floats = NDArray[np.float32]
EPSILON, MOMENTUM = 1e-3, 0.9


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
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    return [value.asnumpy(), *(gradient.asnumpy() for gradient in gradients)]


def of_layer(
    layer: Layer,
    x: Floats,
    weights: list[Floats],
    *,
    activation: ActivationKind | None = None,
    mask: Floats | None = None,
) -> tuple[list[Floats], Floats]:
    """Value and gradients (x, then each of the weights) of a layer by the kernels, and its statistics afterwards."""
    prepare_mindspore(Compute(threads=1))
    from mindspore import Parameter, Tensor

    from mnas.kernels.operators import network_operator, norm_rule

    _, channels, size, _ = x.shape
    program = Program([ProgramLayer(Kind.INPUT, 0, 0, channels, size)])
    program.add(layer, 0, None if activation is None else Activation(activation))
    operator = network_operator(program, differentiates_images=True)
    statistics = Parameter(Tensor(np.arange(max(1, program.statistics), dtype=np.float32)), name="statistics")
    others = Tensor(program.table()), norm_rule(EPSILON, MOMENTUM), Tensor(np.ones(1) if mask is None else mask)

    def run(x: Tensor, vector: Tensor) -> Tensor:
        return operator(x, vector, statistics, *others)[0]

    vector = np.concatenate([np.zeros(0, np.float32), *(array.ravel() for array in weights)])
    value, dx, dvector = value_and_gradients(run, [x, vector if weights else np.ones(1, np.float32)])
    parts = np.split(dvector, np.cumsum([array.size for array in weights]))[: len(weights)]
    gradients = [part.reshape(array.shape) for part, array in zip(parts, weights, strict=True)]
    return [value, dx, *gradients], statistics.asnumpy()


def assert_equal(ours: list[Floats], theirs: list[Floats]) -> None:
    for own, plain in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own.reshape(plain.shape), plain, rtol=1e-5, atol=1e-5 * np.abs(plain).max())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "size"), [(3, 16), (3, 2), (3, 7), (5, 9), (5, 1), (7, 8), (1, 5)])
def test_depthwise_convolution(kernel: int, size: int, stride: int) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import ops

    layer = Convolution("c", 13, 13, kernel, stride, groups=13, out_size=-(-size // stride))
    plain = ops.Conv2D(13, kernel, pad_mode="pad", pad=kernel // 2, stride=stride, group=13)
    x, weight = random((3, 13, size, size), (13, 1, kernel, kernel))
    assert_equal(of_layer(layer, x, [weight])[0], value_and_gradients(plain, [x, weight]))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("channels", "kernel", "size"),
    [
        ((3, 16), 3, 16),
        ((16, 5), 1, 8),
        ((27, 30), 1, 2),
        ((72, 9), 1, 7),  # so many channels that they are fetched ahead
        ((9, 20), 3, 7),
        ((2, 3), 5, 9),
        ((6, 2), 5, 1),
        ((3, 4), 7, 8),
    ],
)
def test_convolution(channels: tuple[int, int], kernel: int, size: int, stride: int) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import ops

    inputs, outputs = channels
    layer = Convolution("c", inputs, outputs, kernel, stride, groups=1, out_size=-(-size // stride))
    plain = ops.Conv2D(outputs, kernel, pad_mode="pad", pad=kernel // 2, stride=stride)
    x, weight = random((3, inputs, size, size), (outputs, inputs, kernel, kernel))
    assert_equal(of_layer(layer, x, [weight])[0], value_and_gradients(plain, [x, weight]))


@pytest.mark.parametrize("images", [1, 130])
def test_convolution_of_images_that_are_padded_in_parts(images: int) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import ops

    layer = Convolution("c", 33, 6, 3, 1, groups=1, out_size=4)
    plain = ops.Conv2D(6, 3, pad_mode="pad", pad=1)
    x, weight = random((images, 33, 4, 4), (6, 33, 3, 3))
    assert_equal(of_layer(layer, x, [weight])[0], value_and_gradients(plain, [x, weight]))


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("size", [1, 5])
def test_batch_norm_with_activation(activation: ActivationKind | None, size: int) -> None:
    prepare_mindspore(Compute(threads=1))
    import mindspore
    from mindspore import ops

    plain_norm = ops.BatchNorm(is_training=True, epsilon=EPSILON, momentum=1 - MOMENTUM)
    activate = {None: ops.identity, "relu": ops.ReLU(), "relu6": ops.ReLU6()}[activation]
    x, gamma, beta = random((6, 4, size, size), (4,), (4,))
    before = np.arange(8, dtype=np.float32)
    moving = [
        mindspore.Parameter(mindspore.Tensor(part), name=name)
        for name, part in zip("mv", np.split(before, 2), strict=True)
    ]

    def plain(*tensors: mindspore.Tensor) -> mindspore.Tensor:
        return activate(plain_norm(*tensors, *moving)[0])

    own, statistics = of_layer(BatchNorm("n", 4), x + 2, [4 * gamma, beta], activation=activation)
    assert_equal(own, value_and_gradients(plain, [x + 2, 4 * gamma, beta]))
    assert not np.allclose(statistics, before)
    assert_equal([statistics], [np.concatenate([part.asnumpy() for part in moving])])


@pytest.mark.parametrize("size", [1, 4, 5])
def test_squeeze_excite(size: int) -> None:
    prepare_mindspore(Compute(threads=1))
    import mindspore
    from mindspore import ops

    def plain(x: mindspore.Tensor, w1: Any, b1: Any, w2: Any, b2: Any) -> mindspore.Tensor:
        scale = ops.relu(ops.conv2d(ops.mean(x, (2, 3), True), w1, b1))
        return x * ops.sigmoid(ops.conv2d(scale, w2, b2))

    x, *weights = random((3, 12, size, size), (4, 12, 1, 1), (4,), (12, 4, 1, 1), (12,))
    own, _ = of_layer(SqueezeExcite("s", 12, 4), x, weights)
    assert_equal(own, value_and_gradients(plain, [x, *weights]))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 6, 7])
def test_average_pool(size: int, stride: int) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import nn

    (x,) = random((3, 11, size, size))
    own, _ = of_layer(AveragePool(3, stride, 11, -(-size // stride)), x, [])
    assert_equal(own, value_and_gradients(nn.AvgPool2d(3, stride, pad_mode="same"), [x]))


@pytest.mark.parametrize("channels", [3, 8, 12, 20])
def test_channels_are_cut_off_or_added(channels: int) -> None:
    x, dy = random((2, 12, 3, 3), (2, channels, 3, 3))
    (value, dx), _ = of_layer(FitChannels(12, channels), x, [])
    kept = min(12, channels)
    np.testing.assert_array_equal(value[:, :kept], x[:, :kept])
    assert not value[:, kept:].any()
    assert dx[:, :kept].all()
    assert not dx[:, kept:].any()
    assert value.shape == dy.shape


def test_global_average_pool() -> None:
    prepare_mindspore(Compute(threads=1))
    import mindspore
    from mindspore import ops

    (x,) = random((3, 10, 4, 4))

    def plain(x: mindspore.Tensor) -> mindspore.Tensor:
        return ops.mean(x, (2, 3), True)

    assert_equal(of_layer(GlobalAveragePool(10), x, [])[0], value_and_gradients(plain, [x]))


@pytest.mark.parametrize("masked", [False, True])
def test_dense_after_a_dropout_mask(masked: bool) -> None:
    prepare_mindspore(Compute(threads=1))
    import mindspore
    from mindspore import ops

    x, weight, bias, mask = random((5, 18, 1, 1), (7, 18), (7,), (5, 18))
    factors = mindspore.Tensor(mask if masked else np.ones_like(mask))

    def plain(x: mindspore.Tensor, weight: mindspore.Tensor, bias: mindspore.Tensor) -> mindspore.Tensor:
        return ops.matmul(x.reshape(5, 18) * factors, weight.T) + bias

    own, _ = of_layer(Dense("d", 18, 7), x, [weight, bias], mask=mask if masked else None)
    assert_equal(own, value_and_gradients(plain, [x, weight, bias]))


def test_what_is_not_a_number_stays_one() -> None:
    x, ones = np.ones((2, 3, 4, 4), np.float32), np.ones(3, np.float32)
    x[0, 1, 2, 3] = np.nan
    (y, *_), _ = of_layer(BatchNorm("n", 3), x, [ones, ones], activation="relu6")
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()
