from __future__ import annotations

import numpy as np
import pytest

from controllers.policy.advantages import above_moving_average, standardised


def test_standardised_values_have_mean_zero_and_variance_one() -> None:
    values = standardised(np.array([3.0, 1.0, 7.0]))
    assert values.mean() == pytest.approx(0.0)
    assert values.std() == pytest.approx(1.0)
    assert values.argsort().tolist() == [1, 0, 2]


def test_equal_values_become_zero() -> None:
    assert standardised(np.array([0.7, 0.7])).tolist() == [0.0, 0.0]


def test_extreme_values_neither_overflow_nor_vanish() -> None:
    assert standardised(np.array([1e100, -1e100])) == pytest.approx([1.0, -1.0])
    assert standardised(np.array([1e-200, 3e-200])) == pytest.approx([-1.0, 1.0])


def test_each_reward_is_compared_with_the_average_of_those_before() -> None:
    advantages, average = above_moving_average(np.array([1.0, 3.0]), 2.0, decay=0.75)
    assert advantages.tolist() == [-1.0, 3.0 - 1.75]
    assert average == 1.75 + 0.25 * 1.25


def test_the_average_starts_at_the_mean_of_the_first_batch() -> None:
    advantages, _ = above_moving_average(np.array([1.0, 3.0]), None, decay=1.0)
    assert advantages.tolist() == [-1.0, 1.0]
