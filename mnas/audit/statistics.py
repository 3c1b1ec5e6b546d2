"""The statistics of an audit: rank correlations with intervals, and how much of a value is noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, fmean

import numpy as np
import numpy.typing as npt

from mnas.ranks import kendall_tau

Floats = npt.NDArray[np.float64]

FEWEST_NETWORKS = 5
"""The interval of a rank correlation needs as many."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class RankCorrelation:
    """How alike two orders of the same networks are.

    Attributes:
        tau: Kendall's tau-b: 1 for the same order, 0 for orders that have nothing to do with one another.
        low: Lower end of the 95% interval.
        high: Its upper end.
    """

    tau: float
    low: float
    high: float

    @classmethod
    def of(cls, tau: float, networks: int) -> RankCorrelation:
        """Return a tau of so many networks with its interval."""
        return cls(tau, *tau_interval(tau, networks))


@dataclass(frozen=True)
class Spread:
    """Where the variance of a value that was found several times for each network comes from.

    Attributes:
        noise: Standard deviation between the values of one network, pooled over the networks.
        freedom: Degrees of freedom of `noise`.
        between: Standard deviation between the networks, without the noise.
    """

    noise: float
    freedom: int
    between: float

    @property
    def reliability(self) -> float:
        """Share of the variance of single values that comes from the networks, from 0 to 1."""
        variance = self.noise**2 + self.between**2
        return self.between**2 / variance if variance else 0.0


def tau_of(first: Floats, second: Floats) -> float:
    """Return Kendall's tau-b of two lists of values; 0 if all values of one are equal, which orders nothing."""
    return kendall_tau(first.tolist(), second.tolist()) or 0.0


def tau_interval(tau: float, networks: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a tau.

    artanh(tau) is about normal with the variance 0.437 / (n - 4) (Fieller, Hartley and Pearson, "Tests for rank
    correlation coefficients", Biometrika 1957). A perfect order of a few networks does not prove a perfect order of
    all, so half a discordant pair is added.

    Raises:
        ValueError: There are fewer than `FEWEST_NETWORKS`.
    """
    if networks < FEWEST_NETWORKS:
        raise ValueError(f"{networks} networks; the interval of a rank correlation needs {FEWEST_NETWORKS}")
    most = 1 - 2 / (networks * (networks - 1))
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(0.437 / (networks - 4))
    centre = math.atanh(min(max(tau, -most), most))
    return min(tau, math.tanh(centre - reach)), max(tau, math.tanh(centre + reach))


def tau_with_other_seeds(values: Floats, full: Floats) -> RankCorrelation:
    """Compare each column of values with the mean of the full trainings with the *other* seeds; the mean of the taus.

    A seed is never compared with itself: a short training that a full one goes on from, or one that begins with the
    same weights, would share its luck.

    Args:
        values: Shape (networks, some seeds); column s has the seed of column s of `full`.
        full: Accuracies of the full trainings, shape (networks, seeds), at least 2 seeds.
    """
    taus = [tau_of(values[:, seed], np.delete(full, seed, axis=1).mean(axis=1)) for seed in range(values.shape[1])]
    return RankCorrelation.of(fmean(taus), len(full))


def spread_of(values: Floats) -> Spread:
    """Return the noise and the spread of values of shape (networks, at least 2 repeats)."""
    networks, repeats = values.shape
    noise = float(values.var(axis=1, ddof=1).mean())
    between = float(values.mean(axis=1).var(ddof=1)) - noise / repeats
    return Spread(math.sqrt(noise), networks * (repeats - 1), math.sqrt(max(0.0, between)))


def optimism(spread: Spread, count: int) -> float:
    """Return by how much the highest of so many single values overstates its network on average.

    For normal values of networks at random: the expected maximum (by Blom's approximation) falls back by the share of
    the variance that is noise.
    """
    highest = NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
    return (1 - spread.reliability) * math.hypot(spread.noise, spread.between) * highest
