"""Which of a few networks is the best, decided by training them again.

The best of many single noisy rewards is overstated, and may not be the best network. So the finalists of a search are
trained again with fresh seeds, one after another where it matters most, until the leader is the best with a stated
probability or the trainings are used up. This module decides; `mnas.search.finals` trains.

The method is Bayesian best-arm identification by top-two sampling (Russo, "Simple Bayesian algorithms for best-arm
identification", Operations Research 2020); of the two, the one that was trained less is trained next. The model is the
hierarchical normal one: a reward of a finalist is normal around its true reward, with a deviation that all finalists
share, and true rewards are normal around a common mean. Both deviations are unknown and integrated over: the share of
the variance that is the networks' is uniform (the uniform shrinkage prior of Daniels, "A prior for the variance in
hierarchical models", Canadian Journal of Statistics 1999). A prior that allows any small deviation believes a few
rewards that agree by luck, and stated probabilities are too high (`experiments/benchmarks/finalists.py`). Rewards of
the search itself are left out, because the finalists were chosen by them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controllers.arrays import DecisionArray, Floats

SAMPLES = 4000
"""Draws of the true rewards: a probability of .95 is known to .003."""
INTERVAL = 0.95
_GRID_POINTS = 20
_GRID_RANGE = (0.1, 5.0)
"""Deviations of single rewards that are integrated over, as multiples of the deviation of all rewards."""


@dataclass(frozen=True)
class Standing:
    """What is known of one finalist.

    Attributes:
        trainings: Fresh trainings that ended with a reward.
        mean: Mean of their rewards, unbiased; NaN without any.
        estimate: Posterior mean of the true reward, drawn towards the mean of all finalists.
        low: Lower end of the interval that holds the true reward with a probability of 95%.
        high: Its upper end.
        probability_best: Probability that no other finalist is better.
    """

    trainings: int
    mean: float
    estimate: float
    low: float
    high: float
    probability_best: float


class Posterior:
    """Draws of the true rewards of all finalists, given the rewards of their fresh trainings.

    Args:
        rewards: Rewards of each finalist's fresh trainings; a finalist may have none.
        seed: Of the draws. The same rewards and seed give the same draws.

    Raises:
        ValueError: There is no finalist, or no reward, or one that is not finite.
    """

    def __init__(self, rewards: Sequence[Sequence[float]], seed: int) -> None:
        together = np.array([reward for own in rewards for reward in own], float)
        if not len(together) or not np.isfinite(together).all():
            raise ValueError("finalists need at least one reward, and finite ones")
        self.rewards = tuple(tuple(own) for own in rewards)
        self._generator = np.random.default_rng([seed, len(together)])
        self.draws = self._draw(together)
        """Shape (SAMPLES, finalists)."""

    def _draw(self, together: Floats) -> Floats:
        counts = np.array([len(own) for own in self.rewards])
        scale = float(together.std())
        if scale <= 1e-12 * max(1.0, float(np.abs(together).max())):
            # Equal rewards tell nothing apart; a finalist without a training is as good as the rest.
            return np.full((SAMPLES, len(counts)), together.mean())
        present = counts > 0
        own = [np.array(rewards) for rewards in self.rewards if rewards]
        means = np.array([rewards.mean() for rewards in own])
        squares = sum(float(((rewards - rewards.mean()) ** 2).sum()) for rewards in own)
        noise, spread = self._draw_deviations(counts[present], means, squares, scale)
        variances = spread[:, None] ** 2 + noise[:, None] ** 2 / counts[present]
        precision = (1 / variances).sum(axis=1)
        centre = (means / variances).sum(axis=1) / precision
        centre = centre + self._generator.standard_normal(SAMPLES) / np.sqrt(precision)
        # With counts of 0 this is the population's own distribution.
        trust = spread[:, None] ** 2 / (spread[:, None] ** 2 + noise[:, None] ** 2 / np.maximum(counts, 1e-9))
        filled = np.zeros(len(counts))
        filled[present] = means
        expected = centre[:, None] + trust * (filled - centre[:, None])
        deviation = spread[:, None] * np.sqrt(1 - trust)
        draws: Floats = expected + deviation * self._generator.standard_normal(expected.shape)
        return draws

    def _draw_deviations(
        self, counts: DecisionArray, means: Floats, squares: float, scale: float
    ) -> tuple[Floats, Floats]:
        """Return draws of the deviation of one training and of that of the true rewards, shape (SAMPLES,) each."""
        singles = scale * np.geomspace(*_GRID_RANGE, _GRID_POINTS)
        shares = (np.arange(_GRID_POINTS) + 0.5) / _GRID_POINTS
        single, share = (axis.ravel() for axis in np.meshgrid(singles, shares, indexing="ij"))
        noise, spread = single * np.sqrt(1 - share), single * np.sqrt(share)
        variances = spread[:, None] ** 2 + noise[:, None] ** 2 / counts
        precision = (1 / variances).sum(axis=1)
        centre = (means / variances).sum(axis=1) / precision
        within = counts.sum() - len(counts)
        log_likelihood = (
            -0.5 * np.log(variances).sum(axis=1)
            - 0.5 * np.log(precision)
            - 0.5 * ((means - centre[:, None]) ** 2 / variances).sum(axis=1)
            - within * np.log(noise)
            - squares / (2 * noise**2)
        )
        weights = np.exp(log_likelihood - log_likelihood.max())
        drawn = self._generator.choice(len(weights), size=SAMPLES, p=weights / weights.sum())
        return noise[drawn], spread[drawn]

    def standings(self) -> list[Standing]:
        """Return what is known of each finalist."""
        tail = (1 - INTERVAL) / 2
        lows, highs = np.quantile(self.draws, (tail, 1 - tail), axis=0)
        probabilities = self.probabilities_best()
        return [
            Standing(len(own), math.fsum(own) / len(own) if own else math.nan, *map(float, values))
            for own, *values in zip(self.rewards, self.draws.mean(axis=0), lows, highs, probabilities, strict=True)
        ]

    def probabilities_best(self) -> Floats:
        """Return how often each finalist is the best; a tie counts for all that share it, in equal parts."""
        best = self.draws == self.draws.max(axis=1, keepdims=True)
        shares: Floats = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
        return shares

    def next_training(self, pending: Sequence[int]) -> int:
        """Return the finalist to train next: of the likely best and its likely rival, the one that was trained less.

        Args:
            pending: Trainings of each finalist that have not ended yet. They differ from call to call while trainings
                are started, and so does the answer.
        """
        started = [len(own) + waiting for own, waiting in zip(self.rewards, pending, strict=True)]
        untrained = [finalist for finalist, count in enumerate(started) if count == 0]
        if untrained:
            return untrained[0]
        draws = np.roll(self.draws, -sum(started), axis=0)  # another draw for each training
        leaders = draws.argmax(axis=1)
        leader = int(leaders[0])
        rivals = leaders[leaders != leader]
        rival = int(rivals[0]) if len(rivals) else _second(draws.mean(axis=0), leader)
        return leader if started[leader] < started[rival] else rival


def _second(values: Floats, leader: int) -> int:
    """Return the index of the highest value but the leader's."""
    others = values.copy()
    others[leader] = -np.inf
    return int(others.argmax())
