"""Ten steps of the recipes against their statement in NumPy.

It has gradients, loss scale, smoothing, decay, RMSProp, schedule, batch-norm statistics, the moving average and its
ramp, in float64 and by hand; so the network is small.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnas.bundled_files import find_recipe
from mnas.mindspore_setup import prepare_mindspore
from mnas.retrain.recipe import load_recipe
from mnas.training.schedules import ema_decay, learning_rates

Array = NDArray[np.float64]
IMAGES, INPUTS, HIDDEN, CLASSES, STEPS = 16, 6, 5, 4, 10
GENERATOR = np.random.default_rng(0)
START: dict[str, Array] = {
    "kernel": GENERATOR.standard_normal((HIDDEN, INPUTS)),
    "gamma": GENERATOR.uniform(0.5, 1.5, HIDDEN),
    "beta": GENERATOR.standard_normal(HIDDEN),
    "weight": GENERATOR.standard_normal((CLASSES, HIDDEN)),
    "bias": GENERATOR.standard_normal(CLASSES),
}
MATRICES = ("kernel", "weight")
BATCHES = [(GENERATOR.standard_normal((IMAGES, INPUTS)), GENERATOR.integers(0, CLASSES, IMAGES)) for _ in range(STEPS)]
MASKS = [(GENERATOR.random((IMAGES, HIDDEN)) >= 0.2) / 0.8 for _ in range(STEPS)]


@dataclass
class Reference:
    """The recipe in float64: matrix, batch norm, ReLU, dropout mask, classifier."""

    decay_norms: bool
    values: dict[str, Array] = field(default_factory=lambda: {name: value.copy() for name, value in START.items()})
    mean: Array = field(default_factory=lambda: np.zeros(HIDDEN))
    variance: Array = field(default_factory=lambda: np.ones(HIDDEN))

    def __post_init__(self) -> None:
        self.squares = {name: np.ones_like(value) for name, value in self.values.items()}
        self.velocities = {name: np.zeros_like(value) for name, value in self.values.items()}
        self.averages = {name: value.copy() for name, value in self.all_values().items()}

    def all_values(self) -> dict[str, Array]:
        return {**self.values, "mean": self.mean, "variance": self.variance}

    def step(self, inputs: Array, labels: NDArray[np.int64], mask: Array, rate: float, updates: int) -> float:
        loss, gradients = self.loss_and_gradients(inputs, labels, mask)
        for name, gradient in gradients.items():
            if self.decay_norms or name in MATRICES:
                gradient = gradient + 1e-5 * self.values[name]
            self.squares[name] = 0.9 * self.squares[name] + 0.1 * gradient**2
            self.velocities[name] = 0.9 * self.velocities[name] + rate * gradient / np.sqrt(self.squares[name] + 1e-3)
            self.values[name] = self.values[name] - self.velocities[name]
        decay = min(0.9999, (1 + updates) / (10 + updates))
        for name, value in self.all_values().items():
            self.averages[name] = decay * self.averages[name] + (1 - decay) * value
        return loss

    def loss_and_gradients(
        self, inputs: Array, labels: NDArray[np.int64], mask: Array
    ) -> tuple[float, dict[str, Array]]:
        gamma, weight = self.values["gamma"], self.values["weight"]
        before = inputs @ self.values["kernel"].T
        mean, variance = before.mean(axis=0), before.var(axis=0)
        normal = (before - mean) / np.sqrt(variance + 1e-3)
        after = gamma * normal + self.values["beta"]
        hidden = np.maximum(after, 0) * mask
        logits = hidden @ weight.T + self.values["bias"]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        targets = 0.9 * np.eye(CLASSES)[labels] + 0.1 / CLASSES
        loss = float(-(targets * np.log(shares)).sum(axis=1).mean())

        d_logits = (shares - targets) / IMAGES
        d_after = (d_logits @ weight) * mask * (after > 0)
        d_normal = d_after * gamma
        d_before = (d_normal - d_normal.mean(axis=0) - normal * (d_normal * normal).mean(axis=0)) / np.sqrt(
            variance + 1e-3
        )
        # The moving variance is the unbiased one, as in MindSpore and TensorFlow.
        self.mean = 0.99 * self.mean + 0.01 * mean
        self.variance = 0.99 * self.variance + 0.01 * variance * IMAGES / (IMAGES - 1)
        return loss, {
            "kernel": d_before.T @ inputs,
            "gamma": (d_after * normal).sum(axis=0),
            "beta": d_after.sum(axis=0),
            "weight": d_logits.T @ hidden,
            "bias": d_logits.sum(axis=0),
        }


def small_network() -> Any:
    import mindspore
    from mindspore import Parameter, Tensor, nn, ops

    class Small(nn.Cell):  # type: ignore[misc]  # MindSpore has no types
        def __init__(self) -> None:
            super().__init__()
            for name, value in START.items():
                setattr(self, name, Parameter(Tensor(value, mindspore.float32), name=name))
            for name, value in (("mean", np.zeros(HIDDEN)), ("variance", np.ones(HIDDEN))):
                setattr(self, name, Parameter(Tensor(value, mindspore.float32), name=name, requires_grad=False))
            self.multiply = ops.MatMul(transpose_b=True)
            self.norm = ops.BatchNorm(is_training=True, epsilon=1e-3, momentum=0.01)

        def construct(self, images: Any, mask: Any) -> Any:
            x = self.multiply(images, self.kernel)
            x = self.norm(x, self.gamma, self.beta, self.mean, self.variance)[0]
            return self.multiply(ops.relu(x) * mask, self.weight) + self.bias

    return Small()


@pytest.mark.parametrize("first_step", [0, 3120], ids=["from the start", "at the peak"])
@pytest.mark.parametrize("name", ["mnasnet_0.75_ascend", "mnasnet_paper"])
def test_ten_steps_of_a_recipe_are_those_of_its_statement(name: str, first_step: int) -> None:
    prepare_mindspore()
    from mindspore import Tensor

    from mnas.training.step import TrainingStep

    settings = load_recipe(find_recipe(name)).training
    rates = learning_rates(settings, 625)
    network = small_network()
    step = TrainingStep(network, CLASSES, settings)
    reference = Reference(decay_norms=name == "mnasnet_0.75_ascend")
    scale = 256.0 if name == "mnasnet_0.75_ascend" else 1.0
    for index, ((inputs, labels), mask) in enumerate(zip(BATCHES, MASKS, strict=True)):
        position = first_step + index
        numbers = [rates[position], np.float32(scale), np.float32(ema_decay(settings.ema, position))]
        images, expected_labels, kept = inputs.astype(np.float32), labels.astype(np.int32), mask.astype(np.float32)
        loss = step(Tensor(images), Tensor(expected_labels), *map(Tensor, numbers), Tensor(kept))
        expected = reference.step(inputs, labels, mask, float(rates[position]), position + 1)
        assert float(loss.asnumpy()) == pytest.approx(expected, abs=1e-5)
    found = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    for key, value in reference.all_values().items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    if settings.ema is not None:
        averages = step.update.average.values()
        for key, value in reference.averages.items():
            np.testing.assert_allclose(averages[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    assert any(np.abs(found[key] - START[key]).max() > 1e-2 for key in START) or first_step == 0
