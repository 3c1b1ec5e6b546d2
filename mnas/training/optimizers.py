# mypy: allow-subclassing-any
"""The optimizers as MindSpore cells: `cell(learning_rate, gradient)` returns the step to subtract from the weights.

Gradient and step are vectors (n,) of all weights, one after the other; so is every part of an optimizer's state. A few
operations on long vectors compile and run faster than a few for each of a hundred parameters.

MindSpore's own optimizers keep the schedule inside the graph. These take the learning rate as an input, so that
`mnas.training.schedules` is the one place that decides it. They do not use MindSpore's fused kernel of RMSProp: on CPUs
it adds epsilon under the root for the last (n modulo 8) elements only, and to the root for all others (MindSpore
2.10.0, AVX).

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from mnas.training.settings import AdamSettings, Optimizer, RmsPropSettings, SgdSettings


def create_optimizer(settings: Optimizer, size: int) -> nn.Cell:
    """Return the optimizer of `settings` for `size` weights, in its initial state."""
    match settings:
        case RmsPropSettings():
            return _RmsProp(settings, size)
        case SgdSettings():
            return _Sgd(settings, size)
        case AdamSettings():
            return _Adam(settings, size)


class _RmsProp(nn.Cell):
    def __init__(self, settings: RmsPropSettings, size: int) -> None:
        super().__init__(auto_prefix=False)
        self.decay, self.momentum, self.epsilon = settings.decay, settings.momentum, settings.epsilon
        self.epsilon_in_root = settings.epsilon_in_root
        self.square = _state("rmsprop.square", np.full(size, settings.initial_square))
        self.velocity = _state("rmsprop.velocity", np.zeros(size))

    def construct(self, learning_rate: Tensor, gradient: Tensor) -> Tensor:
        square = ops.assign(self.square, self.decay * self.square + (1 - self.decay) * gradient * gradient)
        root = ops.sqrt(square + self.epsilon) if self.epsilon_in_root else ops.sqrt(square) + self.epsilon
        return ops.assign(self.velocity, self.momentum * self.velocity + learning_rate * gradient / root)


class _Sgd(nn.Cell):
    def __init__(self, settings: SgdSettings, size: int) -> None:
        super().__init__(auto_prefix=False)
        self.momentum = settings.momentum
        self.velocity = _state("sgd.velocity", np.zeros(size))

    def construct(self, learning_rate: Tensor, gradient: Tensor) -> Tensor:
        return learning_rate * ops.assign(self.velocity, self.momentum * self.velocity + gradient)


class _Adam(nn.Cell):
    def __init__(self, settings: AdamSettings, size: int) -> None:
        super().__init__(auto_prefix=False)
        self.beta1, self.beta2, self.epsilon = settings.beta1, settings.beta2, settings.epsilon
        self.mean = _state("adam.mean", np.zeros(size))
        self.square = _state("adam.square", np.zeros(size))
        self.beta1_power = _state("adam.beta1_power", np.ones(()))
        self.beta2_power = _state("adam.beta2_power", np.ones(()))

    def construct(self, learning_rate: Tensor, gradient: Tensor) -> Tensor:
        power1 = ops.assign(self.beta1_power, self.beta1_power * self.beta1)
        power2 = ops.assign(self.beta2_power, self.beta2_power * self.beta2)
        mean = ops.assign(self.mean, self.beta1 * self.mean + (1 - self.beta1) * gradient)
        square = ops.assign(self.square, self.beta2 * self.square + (1 - self.beta2) * gradient * gradient)
        rate = learning_rate * ops.sqrt(1 - power2) / (1 - power1)
        return rate * mean / (ops.sqrt(square) + self.epsilon)


def _state(name: str, start: NDArray[np.float64]) -> Parameter:
    return Parameter(Tensor(start, mindspore.float32), name=name, requires_grad=False)
