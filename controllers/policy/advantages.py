"""Advantages: how much better than expected the rewards of a batch are."""

from __future__ import annotations

import numpy as np

from controllers.arrays import Floats


def standardised(values: Floats) -> Floats:
    """Return values, shape (batch,), with mean 0 and variance 1; equal values become 0."""
    # Scaled first, so that the squares of extreme rewards neither overflow nor underflow.
    scaled = values / (np.abs(values).max() or 1.0)
    centred = scaled - scaled.mean()
    result: Floats = centred / (np.sqrt((centred**2).mean()) + 1e-8)
    return result


def above_moving_average(rewards: Floats, baseline: float | None, decay: float) -> tuple[Floats, float]:
    """Compare each reward with the exponential moving average of those before it.

    Args:
        rewards: Shape (batch,), in the order in which they were told.
        baseline: The average so far; None starts it at the mean of `rewards`.
        decay: Weight of the past, in [0, 1].

    Returns:
        The differences, shape (batch,), and the new average.
    """
    average = float(rewards.mean()) if baseline is None else baseline
    advantages = np.empty_like(rewards)
    for position, reward in enumerate(rewards):
        advantages[position] = reward - average
        average += (1 - decay) * float(advantages[position])
    return advantages, average
