"""Each optimizer's first steps against its formula in NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mnas.mindspore_setup import prepare_mindspore
from mnas.training.settings import AdamSettings, Optimizer, RmsPropSettings, SgdSettings

Array = NDArray[np.float64]
Formula = Callable[[Array, list[Array], list[float]], Array]

RATES = [0.1, 0.05, 0.2]


def rmsprop(weight: Array, gradients: list[Array], rates: list[float]) -> Array:
    square, velocity = np.ones_like(weight), np.zeros_like(weight)
    for gradient, rate in zip(gradients, rates, strict=True):
        square = 0.8 * square + 0.2 * gradient**2
        velocity = 0.7 * velocity + rate * gradient / np.sqrt(square + 0.01)
        weight = weight - velocity
    return weight


def rmsprop_of_pytorch(weight: Array, gradients: list[Array], rates: list[float]) -> Array:
    square, velocity = np.zeros_like(weight), np.zeros_like(weight)
    for gradient, rate in zip(gradients, rates, strict=True):
        square = 0.8 * square + 0.2 * gradient**2
        velocity = 0.7 * velocity + rate * gradient / (np.sqrt(square) + 0.01)
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
        (RmsPropSettings(decay=0.8, momentum=0.7, epsilon=0.01), rmsprop),
        (
            RmsPropSettings(decay=0.8, momentum=0.7, epsilon=0.01, initial_square=0, epsilon_in_root=False),
            rmsprop_of_pytorch,
        ),
        (SgdSettings(momentum=0.7), sgd),
        (AdamSettings(beta1=0.8, beta2=0.95, epsilon=0.01), adam),
    ],
    ids=["rmsprop", "rmsprop of pytorch", "sgd", "adam"],
)
def test_three_steps_follow_the_formula(settings: Optimizer, formula: Formula) -> None:
    prepare_mindspore()
    import mindspore

    from mnas.training.optimizers import create_optimizer

    generator = np.random.default_rng(0)
    # Of kernels that work on 8 numbers at a time, this length uses both parts.
    start = generator.standard_normal(35)
    gradients = [generator.standard_normal(35) for _ in RATES]
    optimizer = create_optimizer(settings, size=35)
    weight = start
    for rate, gradient in zip(RATES, gradients, strict=True):
        step = optimizer(mindspore.Tensor(rate, mindspore.float32), mindspore.Tensor(gradient, mindspore.float32))
        weight = weight - step.asnumpy()
    np.testing.assert_allclose(weight, formula(start, gradients, RATES), rtol=1e-5, atol=1e-6)
