"""How long the moving averages of a training may be for its number of steps."""

from __future__ import annotations


def norm_momentum_for(steps: int) -> float:
    """Return the momentum of batch norms' moving statistics for a training of this many steps.

    With momentum m the statistics average over about 1 / (1 - m) steps, and their initial values keep a share of
    m^steps. The rule is the largest of 0.8, 0.9, 0.95, 0.97 and 0.99 with 1 / (1 - m) <= steps / 8, so that this share
    is at most e^-8 (0.03%). 0.99, the default of `training.norm_momentum`, is right from 800 steps on.

    >>> [norm_momentum_for(steps) for steps in (20, 85, 200, 7810)]
    [0.8, 0.9, 0.95, 0.99]
    """
    averaged = {100: 0.99, 33: 0.97, 20: 0.95, 10: 0.9}  # steps that are averaged over, by momentum
    return next((momentum for count, momentum in averaged.items() if 8 * count <= steps), 0.8)


def ema_decay_for(steps: int) -> float:
    """Return the decay of a moving average of the weights for a training of this many steps.

    With decay d it averages over about 1 / (1 - d) steps. The rule is the largest of 0.9, 0.99, 0.999 and 0.9999 with
    1 / (1 - d) <= steps / 5, so that the weights of the first half of the training count for little.

    >>> [ema_decay_for(steps) for steps in (20, 500, 7810, 218_750)]
    [0.9, 0.99, 0.999, 0.9999]
    """
    averaged = {10_000: 0.9999, 1000: 0.999, 100: 0.99}
    return next((decay for count, decay in averaged.items() if 5 * count <= steps), 0.9)
