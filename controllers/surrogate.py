"""A Gaussian process over proposals, fitted to the scores of known ones."""

from __future__ import annotations

import math

import numpy as np

from controllers.arrays import DecisionArray, Floats

_LENGTH_SCALE = 0.5
"""If two proposals differ in this share of their decisions, their scores have the correlation 1/e."""
_NOISE = 0.01
"""Variance of an evaluation's noise, as a share of the variance of scores."""


class Surrogate:
    """Predicts the scores of proposals that have not been evaluated.

    The covariance of two scores is exp(-d / 0.5), where d is the share of decisions in which the proposals
    differ (the exponential kernel on Hamming distance; Rasmussen and Williams, 2006, section 4.2).

    Attributes:
        known_means: Smoothed scores of the known proposals, shape (known,).
    """

    def __init__(self, proposals: DecisionArray, scores: Floats) -> None:
        """Fit to proposals, shape (known, decisions), and scores of mean 0 and variance 1, shape (known,)."""
        self._known = proposals
        covariance = _covariance(proposals, proposals)
        self._inverse = np.linalg.inv(covariance + _NOISE * np.eye(len(proposals)))
        self._weights = self._inverse @ scores
        self.known_means: Floats = covariance @ self._weights

    def predict(self, proposals: DecisionArray) -> tuple[Floats, Floats]:
        """Return means and standard deviations of the scores of proposals, each of shape (proposals,)."""
        covariance = _covariance(proposals, self._known)
        explained = ((covariance @ self._inverse) * covariance).sum(axis=1)
        return covariance @ self._weights, np.sqrt(np.maximum(1.0 - explained, 1e-12))


def expected_improvement(leads: Floats, deviations: Floats) -> Floats:
    """Return the expectation of max(0, x) for normally distributed x.

    Args:
        leads: Means of x, shape (batch,).
        deviations: Standard deviations of x, shape (batch,); above 0.
    """
    ratios = leads / deviations
    density = np.exp(-0.5 * ratios**2) / math.sqrt(2 * math.pi)
    share = np.array([0.5 * math.erfc(-ratio / math.sqrt(2)) for ratio in ratios.tolist()])
    improvement: Floats = leads * share + deviations * density
    return improvement


def _covariance(one: DecisionArray, other: DecisionArray) -> Floats:
    decisions = one.shape[1]
    choices = np.arange(max(one.max(), other.max()) + 1)
    # Equal decisions are counted by a product of matrices, which is exact for counts and many times faster.
    marks, other_marks = (
        (each[:, :, None] == choices).reshape(len(each), -1).astype(np.float32) for each in (one, other)
    )
    differences = (decisions - (marks @ other_marks.T).astype(np.float64)) / decisions
    covariance: Floats = np.exp(-differences / _LENGTH_SCALE)
    return covariance
