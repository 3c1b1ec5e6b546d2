"""The step on softmax regression, whose loss and gradients NumPy can state."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from mnas.mindspore_setup import prepare_mindspore
from mnas.training.settings import SgdSettings, TrainingSettings

Array = NDArray[np.float64]

GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.standard_normal((6, 5))
LABELS = GENERATOR.integers(0, 3, 6)
WEIGHT, BIAS = GENERATOR.standard_normal((3, 5)), GENERATOR.standard_normal(3)


def loss_and_gradients(smoothing: float) -> tuple[float, Array, Array]:
    logits = INPUTS @ WEIGHT.T + BIAS
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (1 - smoothing) * np.eye(3)[LABELS] + smoothing / 3
    loss = -(targets * np.log(probabilities)).sum(axis=1).mean()
    slope = (probabilities - targets) / len(LABELS)
    return loss, slope.T @ INPUTS, slope.sum(axis=0)


def take_step(loss_scale: float = 1.0, **options: float | str) -> tuple[float, Array, Array]:
    """One step of plain gradient descent at rate 0.5: the loss, and weight and bias after it."""
    prepare_mindspore()
    import mindspore

    from mnas.training.step import TrainingStep

    dense = mindspore.nn.Dense(5, 3)
    dense.weight.set_data(mindspore.Tensor(WEIGHT, mindspore.float32))
    dense.bias.set_data(mindspore.Tensor(BIAS, mindspore.float32))
    settings = msgspec.convert(
        {
            "epochs": 1,
            "learning_rate": 0.5,
            "optimizer": {"name": "sgd", "momentum": 0},
            "loss_scale": {"name": "fixed", "scale": loss_scale},
            **options,
        },
        TrainingSettings,
    )
    step = TrainingStep(dense, 3, settings)
    inputs, labels = mindspore.Tensor(INPUTS, mindspore.float32), mindspore.Tensor(LABELS, mindspore.int32)
    rate, scale, decay = (mindspore.Tensor(number, mindspore.float32) for number in (0.5, loss_scale, 0.0))
    loss = step(inputs, labels, rate, scale, decay)
    return float(loss.asnumpy()), dense.weight.asnumpy(), dense.bias.asnumpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_the_cross_entropy_with_smoothed_labels(smoothing: float) -> None:
    expected, weight_gradient, bias_gradient = loss_and_gradients(smoothing)
    loss, weight, bias = take_step(label_smoothing=smoothing)
    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(weight, WEIGHT - 0.5 * weight_gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, BIAS - 0.5 * bias_gradient, rtol=1e-4, atol=1e-6)


def test_weight_decay_on_kernels_spares_biases() -> None:
    _, weight_gradient, bias_gradient = loss_and_gradients(0.0)
    _, weight, bias = take_step(weight_decay=0.1)
    np.testing.assert_allclose(weight, WEIGHT - 0.5 * (weight_gradient + 0.1 * WEIGHT), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, BIAS - 0.5 * bias_gradient, rtol=1e-4, atol=1e-6)


def test_weight_decay_on_all_spares_nothing() -> None:
    _, _, bias_gradient = loss_and_gradients(0.0)
    _, _, bias = take_step(weight_decay=0.1, weight_decay_on="all")
    np.testing.assert_allclose(bias, BIAS - 0.5 * (bias_gradient + 0.1 * BIAS), rtol=1e-4, atol=1e-6)


def test_clipping_scales_all_gradients_to_the_global_norm() -> None:
    _, weight_gradient, bias_gradient = loss_and_gradients(0.0)
    norm = np.sqrt((weight_gradient**2).sum() + (bias_gradient**2).sum())
    clip = float(norm) / 4
    _, weight, bias = take_step(clip_norm=clip)
    np.testing.assert_allclose(weight, WEIGHT - 0.5 * weight_gradient / 4, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, BIAS - 0.5 * bias_gradient / 4, rtol=1e-4, atol=1e-6)


def test_accumulated_parts_take_the_step_of_the_whole_batch() -> None:
    prepare_mindspore()
    import mindspore
    from mindspore import Tensor

    from mnas.training.step import AccumulatingStep

    _, weight_gradient, bias_gradient = loss_and_gradients(0.0)
    dense = mindspore.nn.Dense(5, 3)
    dense.weight.set_data(Tensor(WEIGHT, mindspore.float32))
    dense.bias.set_data(Tensor(BIAS, mindspore.float32))
    settings = TrainingSettings(epochs=1, learning_rate=0.5, optimizer=SgdSettings(momentum=0))
    step = AccumulatingStep(dense, 3, settings)
    rate, scale, factor = (Tensor(number, mindspore.float32) for number in (0.5, 4.0, 1 / (4.0 * 3)))
    for skip in (True, False):  # the second batch must not see the first one's gradients
        for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
            _, finite = step(Tensor(INPUTS[part], mindspore.float32), Tensor(LABELS[part], mindspore.int32), scale)
            assert bool(finite.asnumpy())
        step.finish(factor, rate, rate, Tensor(skip))
    np.testing.assert_allclose(dense.weight.asnumpy(), WEIGHT - 0.5 * weight_gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dense.bias.asnumpy(), BIAS - 0.5 * bias_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("npu", [False, True])
def test_gradients_that_overflow_are_seen(npu: bool) -> None:
    prepare_mindspore()
    import mindspore
    from mindspore import Tensor

    from mnas.training.step import AccumulatingStep

    dense = mindspore.nn.Dense(5, 3)
    step = AccumulatingStep(dense, 3, TrainingSettings(epochs=1, learning_rate=0.5), npu=npu)
    inputs, labels = Tensor(100 * INPUTS, mindspore.float32), Tensor(LABELS, mindspore.int32)
    found = [step(inputs, labels, Tensor(scale, mindspore.float32))[1] for scale in (1.0, 3e38)]
    assert [bool(finite.asnumpy()) for finite in found] == [True, False]
