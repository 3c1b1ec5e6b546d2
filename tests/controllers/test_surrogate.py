from __future__ import annotations

import numpy as np
import pytest

from controllers.arrays import DecisionArray, Floats
from controllers.surrogate import Surrogate, expected_improvement

DECISIONS = 10


def random_proposals(count: int) -> DecisionArray:
    return np.random.default_rng(0).integers(3, size=(count, DECISIONS))


def scores_of(proposals: DecisionArray) -> Floats:
    """A sum of decisions, standardised."""
    scores: Floats = (proposals.sum(axis=1) - DECISIONS) / (DECISIONS * 2 / 3) ** 0.5
    return scores


def test_the_prediction_of_a_known_proposal_is_close_to_its_score_and_sure() -> None:
    known = random_proposals(40)
    means, deviations = Surrogate(known, scores_of(known)).predict(known)
    assert means == pytest.approx(scores_of(known), abs=0.15)
    assert (deviations < 0.11).all()  # The square root of the noise's variance is 0.1.


def test_smoothed_scores_are_the_predictions_of_the_known() -> None:
    known = random_proposals(20)
    surrogate = Surrogate(known, scores_of(known))
    assert surrogate.known_means == pytest.approx(surrogate.predict(known)[0])


def test_one_result_is_weighed_against_its_noise() -> None:
    known = np.zeros((1, DECISIONS), dtype=np.int64)
    means, deviations = Surrogate(known, np.array([1.01])).predict(known)
    assert means == pytest.approx([1.0])
    assert deviations == pytest.approx([(1 - 1 / 1.01) ** 0.5])


def test_correlation_falls_with_the_share_of_decisions_that_differ() -> None:
    known = np.zeros((1, DECISIONS), dtype=np.int64)
    changed = np.tril(np.ones((DECISIONS, DECISIONS), dtype=np.int64))
    means, _ = Surrogate(known, np.array([1.01])).predict(changed)
    assert means == pytest.approx(np.exp(-np.arange(1, DECISIONS + 1) / DECISIONS / 0.5))


def test_unknown_proposals_are_ranked_well_after_enough_results() -> None:
    proposals = random_proposals(200)
    known, unknown = proposals[:100], proposals[100:]
    means, _ = Surrogate(known, scores_of(known)).predict(unknown)
    assert np.corrcoef(means, scores_of(unknown))[0, 1] > 0.8


def test_the_expected_improvement_is_that_of_draws() -> None:
    leads, deviations = np.array([-1.0, 0.0, 0.5]), np.array([1.0, 2.0, 0.1])
    draws = leads + deviations * np.random.default_rng(0).standard_normal((200_000, 3))
    expected = np.maximum(draws, 0.0).mean(axis=0)
    assert expected_improvement(leads, deviations) == pytest.approx(expected, rel=0.02)
