"""Rewards replaced by their ranks, on the scale of a normal distribution."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from controllers.arrays import Floats


def normal_scores(rewards: Floats) -> Floats:
    """Return the normal scores of rewards.

    The r-th lowest of n rewards gets the standard normal distribution's quantile of (r - 0.5) / n. Equal rewards
    get the score of their mean rank. Scores depend only on the order of the rewards, so a single reward far from
    all others, such as the 0 of a failed child, does not hide the differences between the others.

    Args:
        rewards: Shape (n,).

    Returns:
        The scores, shape (n,).
    """
    _, positions, counts = np.unique(rewards, return_inverse=True, return_counts=True)
    shares = (np.cumsum(counts) - counts / 2) / len(rewards)
    quantile = NormalDist().inv_cdf
    values = np.array([quantile(share) for share in shares.tolist()])
    scores: Floats = values[positions]
    return scores
