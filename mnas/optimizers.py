# mypy: allow-subclassing-any
"""The optimizers as MindSpore cells: `cell(learning_rate, gradients)` updates the parameters in place.

A cell returns what its primitives return; the training step must depend on it to have them run.

MindSpore's own optimizers keep the schedule inside the graph and add several nodes for each parameter. These take the
learning rate as an input, so that `mnas.learning_rate` is the one place that decides it, and compile faster.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

import mindspore
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mnas.training_settings import Adam, Optimizer, RmsProp, Sgd


def create_optimizer(settings: Optimizer, weights: ParameterTuple) -> nn.Cell:
    """Return the optimizer of `settings` for these parameters, its state fresh."""
    match settings:
        case RmsProp():
            return _RmsProp(settings, weights)
        case Sgd():
            return _Sgd(settings, weights)
        case Adam():
            return _Adam(settings, weights)


class _RmsProp(nn.Cell):
    def __init__(self, settings: RmsProp, weights: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.constants = tuple(map(float, (settings.decay, settings.momentum, settings.epsilon)))
        self.weights = weights
        self.squares = weights.clone("rmsprop.square", "ones")
        self.velocities = weights.clone("rmsprop.velocity", "zeros")
        self.map = ops.HyperMap()

    def construct(self, learning_rate: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        update = ops.partial(_update_by_rmsprop, self.constants, learning_rate)
        return self.map(update, self.weights, self.squares, self.velocities, gradients)


class _Sgd(nn.Cell):
    def __init__(self, settings: Sgd, weights: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.momentum = float(settings.momentum)
        self.weights = weights
        self.velocities = weights.clone("sgd.velocity", "zeros")
        self.map = ops.HyperMap()

    def construct(self, learning_rate: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        update = ops.partial(_update_by_sgd, self.momentum, learning_rate)
        return self.map(update, self.weights, self.velocities, gradients)


class _Adam(nn.Cell):
    def __init__(self, settings: Adam, weights: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.constants = tuple(map(float, (settings.beta1, settings.beta2, settings.epsilon)))
        self.weights = weights
        self.means = weights.clone("adam.mean", "zeros")
        self.squares = weights.clone("adam.square", "zeros")
        self.beta1_power = Parameter(Tensor(1.0, mindspore.float32), name="adam.beta1_power", requires_grad=False)
        self.beta2_power = Parameter(Tensor(1.0, mindspore.float32), name="adam.beta2_power", requires_grad=False)
        self.map = ops.HyperMap()

    def construct(self, learning_rate: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        beta1, beta2, _ = self.constants
        powers = (
            ops.assign(self.beta1_power, self.beta1_power * beta1),
            ops.assign(self.beta2_power, self.beta2_power * beta2),
        )
        update = ops.partial(_update_by_adam, self.constants, powers, learning_rate)
        return self.map(update, self.weights, self.means, self.squares, gradients)


_apply_momentum, _apply_adam = ops.ApplyMomentum(), ops.Adam()


def _update_by_rmsprop(
    constants: tuple[float, float, float],
    learning_rate: Tensor,
    weight: Tensor,
    square: Tensor,
    velocity: Tensor,
    gradient: Tensor,
) -> Tensor:
    # Not ops.ApplyRMSProp: on the CPU its epsilon stands beside the root, whatever its documentation says.
    decay, momentum, epsilon = constants
    new_square = ops.assign(square, decay * square + (1 - decay) * gradient * gradient)
    step = momentum * velocity + learning_rate * gradient * ops.rsqrt(new_square + epsilon)
    return ops.assign(weight, weight - ops.assign(velocity, step))


def _update_by_sgd(
    momentum: float, learning_rate: Tensor, weight: Tensor, velocity: Tensor, gradient: Tensor
) -> Tensor:
    return _apply_momentum(weight, velocity, learning_rate, gradient, momentum)


def _update_by_adam(
    constants: tuple[float, float, float],
    powers: tuple[Tensor, Tensor],
    learning_rate: Tensor,
    weight: Tensor,
    mean: Tensor,
    square: Tensor,
    gradient: Tensor,
) -> Tensor:
    beta1, beta2, epsilon = constants
    return _apply_adam(weight, mean, square, powers[0], powers[1], learning_rate, beta1, beta2, epsilon, gradient)
