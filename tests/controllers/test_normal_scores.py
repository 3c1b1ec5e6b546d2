from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.normal_scores import normal_scores

rewards = st.lists(st.integers(-1000, 1000), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=float))


def test_scores_are_the_quantiles_of_the_ranks() -> None:
    assert normal_scores(np.array([0.3, 0.1, 0.2])) == pytest.approx([0.9674, -0.9674, 0.0], abs=1e-4)


def test_equal_rewards_share_the_score_of_their_mean_rank() -> None:
    assert normal_scores(np.array([1.0, 2.0, 1.0, 3.0])) == pytest.approx([-0.6745, 0.3186, -0.6745, 1.1503], abs=1e-4)


@given(values=rewards)
def test_only_the_order_of_the_rewards_counts(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    assert (normal_scores(values) == normal_scores(np.sign(values) * values**2 * 7 - 3)).all()


@given(values=rewards)
def test_better_rewards_have_higher_scores(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    scores = normal_scores(values)
    assert ((values[:, None] > values) == (scores[:, None] > scores)).all()


def test_an_outlier_does_not_change_the_scores_of_the_others() -> None:
    near, far = normal_scores(np.array([0.69, 0.7, 0.71, 0.68])), normal_scores(np.array([0.69, 0.7, 0.71, 0.0]))
    assert (near == far).all()
