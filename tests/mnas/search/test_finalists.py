import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnas.search.finalists import Posterior

CLEAR = [[0.70, 0.71, 0.69], [0.50, 0.51, 0.52], [0.40, 0.42, 0.41]]


def probabilities(rewards: list[list[float]], seed: int = 0) -> list[float]:
    return [standing.probability_best for standing in Posterior(rewards, seed).standings()]


def test_a_leader_far_above_the_noise_is_certain() -> None:
    assert probabilities(CLEAR)[0] > 0.99


def test_one_training_each_decides_nothing() -> None:
    assert max(probabilities([[0.50], [0.51], [0.52]])) < 0.9


def test_equal_rewards_leave_all_equally_likely() -> None:
    assert probabilities([[0.5, 0.5]] * 4) == [0.25] * 4


def test_more_trainings_narrow_the_interval() -> None:
    generator = np.random.default_rng(0)
    noisy = [(0.5 + 0.02 * generator.standard_normal(40)).tolist() for _ in range(3)]
    few, many = (Posterior([own[:count] for own in noisy], 0).standings()[0] for count in (3, 40))
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_the_estimate_is_drawn_towards_the_others() -> None:
    best = Posterior([[0.60, 0.50], [0.51, 0.49], [0.48, 0.52]], 0).standings()[0]
    assert best.estimate < best.mean == pytest.approx(0.55)


def test_an_untrained_finalist_has_no_mean() -> None:
    assert math.isnan(Posterior([[0.5, 0.52], [0.4, 0.41], []], 0).standings()[2].mean)


@given(
    rewards=st.lists(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4), min_size=2, max_size=5),
    factor=st.floats(0.1, 100.0),
    offset=st.floats(-10.0, 10.0),
)
@settings(max_examples=25, deadline=None)
def test_the_unit_of_the_reward_does_not_matter(rewards: list[list[float]], factor: float, offset: float) -> None:
    together = [reward for own in rewards for reward in own]
    if max(together) - min(together) < 1e-3:  # rounding decides then
        return
    moved = [[offset + factor * reward for reward in own] for own in rewards]
    np.testing.assert_allclose(probabilities(moved), probabilities(rewards), atol=0.01)


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=4), min_size=1, max_size=6).filter(any), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_probabilities_sum_to_one(rewards: list[list[float]], seed: int) -> None:
    assert sum(probabilities(rewards, seed)) == pytest.approx(1.0)


def test_the_same_rewards_and_seed_give_the_same_draws() -> None:
    np.testing.assert_array_equal(Posterior(CLEAR, 3).draws, Posterior(CLEAR, 3).draws)


@pytest.mark.parametrize("rewards", [[], [[], []], [[math.nan, 0.5]], [[math.inf], [0.5]]])
def test_rewards_that_decide_nothing_are_refused(rewards: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="reward"):
        Posterior(rewards, 0)


def test_an_untrained_finalist_is_trained_first() -> None:
    assert Posterior([[0.5], [0.6], []], 0).next_training([0, 0, 0]) == 2


def test_a_pending_first_training_is_not_started_twice() -> None:
    assert Posterior([[0.5], [], []], 0).next_training([0, 1, 0]) == 2


def test_the_likely_best_two_get_the_trainings() -> None:
    rewards = [[0.70, 0.71, 0.69], [0.69, 0.70, 0.71], [0.10, 0.11, 0.12]]
    pending = [0, 0, 0]
    for _ in range(20):
        pending[Posterior(rewards, 0).next_training(pending)] += 1
    assert pending[2] == 0


def test_the_less_trained_of_the_two_is_preferred() -> None:
    rewards = [[0.70, 0.71] * 5, [0.70, 0.71], [0.10, 0.11]]
    assert Posterior(rewards, 0).next_training([0, 0, 0]) == 1


def test_a_single_finalist_is_the_best() -> None:
    assert probabilities([[0.5, 0.6]]) == [1.0]
