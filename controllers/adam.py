"""The Adam optimizer on one flat parameter vector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MEAN_DECAY = 0.9
VARIANCE_DECAY = 0.999
EPSILON = 1e-8


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1) with the paper's decay rates.

    Attributes:
        mean: running mean of the gradient, shape (parameters,).
        variance: running mean of the squared gradient, shape (parameters,).
        steps: updates made.
    """

    def __init__(self, size: int, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.mean = np.zeros(size)
        self.variance = np.zeros(size)
        self.steps = 0

    def update(self, parameters: NDArray[np.float64], gradient: NDArray[np.float64]) -> None:
        """Change `parameters` in place, one step against `gradient`."""
        self.steps += 1
        self.mean += (1 - MEAN_DECAY) * (gradient - self.mean)
        self.variance += (1 - VARIANCE_DECAY) * (gradient * gradient - self.variance)
        mean = self.mean / (1 - MEAN_DECAY**self.steps)
        variance = self.variance / (1 - VARIANCE_DECAY**self.steps)
        parameters -= self.learning_rate * mean / (np.sqrt(variance) + EPSILON)
