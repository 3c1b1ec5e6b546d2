"""A Gaussian process over architectures, fitted to the scores of known ones."""

from __future__ import annotations

import math

import numpy as np

from controllers.arrays import Floats, Indices

_LENGTH_SCALE = 0.5
"""Share of decisions in which two architectures differ whose scores correlate by 1/e."""
_NOISE = 0.01
"""Variance of an evaluation's noise, as a share of the variance of scores."""


class Surrogate:
    """Predicts the scores of architectures that have not been evaluated.

    The covariance of two scores is exp(-d / 0.5), where d is the share of decisions in which the architectures
    differ (the exponential kernel on Hamming distance; Rasmussen and Williams, 2006, section 4.2).

    Attributes:
        known_means: smoothed scores of the known architectures, shape (known,).
    """

    def __init__(self, architectures: Indices, scores: Floats) -> None:
        """Fit to architectures of shape (known, decisions) and scores of shape (known,) with mean 0 and variance 1."""
        self._known = architectures
        covariance = _covariance(architectures, architectures)
        self._inverse = np.linalg.inv(covariance + _NOISE * np.eye(len(architectures)))
        self._weights = self._inverse @ scores
        self.known_means: Floats = covariance @ self._weights

    def predict(self, architectures: Indices) -> tuple[Floats, Floats]:
        """Return means and standard deviations of the scores of architectures, both of shape (architectures,)."""
        covariance = _covariance(architectures, self._known)
        explained = ((covariance @ self._inverse) * covariance).sum(axis=1)
        return covariance @ self._weights, np.sqrt(np.maximum(1.0 - explained, 1e-12))


def expected_improvement(leads: Floats, deviations: Floats) -> Floats:
    """Return the expectation of max(0, x) for normally distributed x.

    Args:
        leads: means of x, shape (batch,).
        deviations: standard deviations of x, shape (batch,); above 0.
    """
    ratios = leads / deviations
    density = np.exp(-0.5 * ratios**2) / math.sqrt(2 * math.pi)
    share = np.array([0.5 * math.erfc(-ratio / math.sqrt(2)) for ratio in ratios.tolist()])
    improvement: Floats = leads * share + deviations * density
    return improvement


def _covariance(one: Indices, other: Indices) -> Floats:
    differences = (one[:, None, :] != other[None, :, :]).mean(axis=2)
    covariance: Floats = np.exp(-differences / _LENGTH_SCALE)
    return covariance
