"""Each optimizer's first steps against its formula in NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mnas.mindspore_setup import prepare_mindspore
from mnas.training_settings import Adam, Optimizer, RmsProp, Sgd

Array = NDArray[np.float64]
Formula = Callable[[Array, list[Array], list[float]], Array]

RATES = [0.1, 0.05, 0.2]


def rmsprop(weight: Array, gradients: list[Array], rates: list[float]) -> Array:
    # An epsilon so large that it matters whether it stands under the root.
    square, velocity = np.ones_like(weight), np.zeros_like(weight)
    for gradient, rate in zip(gradients, rates, strict=True):
        square = 0.8 * square + 0.2 * gradient**2
        velocity = 0.7 * velocity + rate * gradient / np.sqrt(square + 0.5)
        weight = weight - velocity
    return weight


def sgd(weight: Array, gradients: list[Array], rates: list[float]) -> Array:
    velocity = np.zeros_like(weight)
    for gradient, rate in zip(gradients, rates, strict=True):
        velocity = 0.7 * velocity + gradient
        weight = weight - rate * velocity
    return weight


def adam(weight: Array, gradients: list[Array], rates: list[float]) -> Array:
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        corrected = rate * np.sqrt(1 - 0.95**step) / (1 - 0.8**step)
        weight = weight - corrected * mean / (np.sqrt(square) + 0.01)
    return weight


@pytest.mark.parametrize(
    ("settings", "formula"),
    [
        (RmsProp(decay=0.8, momentum=0.7, epsilon=0.5), rmsprop),
        (Sgd(momentum=0.7), sgd),
        (Adam(beta1=0.8, beta2=0.95, epsilon=0.01), adam),
    ],
    ids=["rmsprop", "sgd", "adam"],
)
def test_three_steps_follow_the_formula(settings: Optimizer, formula: Formula) -> None:
    prepare_mindspore()
    import mindspore

    from mnas.optimizers import create_optimizer

    generator = np.random.default_rng(0)
    starts = [generator.standard_normal(shape) for shape in ((3, 2), (4,))]
    gradients = [[generator.standard_normal(start.shape) for start in starts] for _ in RATES]
    tensors = [mindspore.Tensor(start, mindspore.float32) for start in starts]
    weights = [mindspore.Parameter(tensor, name=f"w{index}") for index, tensor in enumerate(tensors)]
    optimizer = create_optimizer(settings, mindspore.ParameterTuple(weights))
    for rate, step in zip(RATES, gradients, strict=True):
        given = tuple(mindspore.Tensor(gradient, mindspore.float32) for gradient in step)
        optimizer(mindspore.Tensor(rate, mindspore.float32), given)
    for index, (weight, start) in enumerate(zip(weights, starts, strict=True)):
        expected = formula(start, [step[index] for step in gradients], RATES)
        np.testing.assert_allclose(weight.asnumpy(), expected, rtol=1e-4, atol=1e-5)
