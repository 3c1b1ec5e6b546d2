"""The Adam optimizer on one flat parameter vector."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from controllers.arrays import Floats
from controllers.controller import StateValue
from controllers.state import read_count, read_floats

MEAN_DECAY = 0.9
VARIANCE_DECAY = 0.999
EPSILON = 1e-8


class AdamOptimizer:
    """Adam (Kingma and Ba, 2015, algorithm 1) with the paper's decay rates.

    Attributes:
        mean: Running mean of the gradient, shape (parameters,).
        variance: Running mean of the squared gradient, shape (parameters,).
        steps: Number of updates so far.
    """

    def __init__(self, size: int, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.mean = np.zeros(size)
        self.variance = np.zeros(size)
        self.steps = 0

    def update(self, parameters: Floats, gradient: Floats) -> None:
        """Change `parameters` in place by one step against `gradient`."""
        self.steps += 1
        self.mean += (1 - MEAN_DECAY) * (gradient - self.mean)
        self.variance += (1 - VARIANCE_DECAY) * (gradient * gradient - self.variance)
        mean = self.mean / (1 - MEAN_DECAY**self.steps)
        variance = self.variance / (1 - VARIANCE_DECAY**self.steps)
        parameters -= self.learning_rate * mean / (np.sqrt(variance) + EPSILON)

    def entries(self) -> dict[str, StateValue]:
        """Return the optimizer's part of a state."""
        return {
            "adam_mean": self.mean.copy(),
            "adam_variance": self.variance.copy(),
            "adam_steps": self.steps,
        }


def read_adam(state: Mapping[str, StateValue], size: int, learning_rate: float) -> AdamOptimizer:
    """Return the optimizer whose `entries` are in the state.

    Raises:
        ControllerError: They are missing or damaged.
    """
    adam = AdamOptimizer(size, learning_rate)
    adam.mean = read_floats(state, "adam_mean", size)
    adam.variance = read_floats(state, "adam_variance", size)
    adam.steps = read_count(state, "adam_steps")
    return adam


def clip_norm(gradient: Floats, max_norm: float) -> None:
    """Scale a gradient in place to `max_norm` if its norm is larger."""
    # Not numpy.linalg.norm, whose rounding depends on the number of BLAS threads.
    norm = float(np.sqrt((gradient * gradient).sum()))
    if norm > max_norm:
        gradient *= max_norm / norm
