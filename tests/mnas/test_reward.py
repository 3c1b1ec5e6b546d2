import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mnas.reward
from mnas.reward import RewardSettings, reward

accuracies = st.floats(0.01, 1)
latencies = st.floats(0.01, 1e4)


def test_doctests_hold() -> None:
    assert doctest.testmod(mnas.reward).failed == 0


@given(accuracies, latencies, st.sampled_from(["soft", "hard"]))
def test_at_the_target_the_reward_is_the_accuracy(accuracy: float, target_ms: float, form: str) -> None:
    settings = RewardSettings(form="soft" if form == "soft" else "hard")
    assert reward(accuracy, target_ms, target_ms, settings) == accuracy


@given(accuracies, latencies, latencies)
def test_soft_is_the_papers_formula(accuracy: float, latency_ms: float, target_ms: float) -> None:
    expected = accuracy * math.exp(-0.07 * math.log(latency_ms / target_ms))
    assert reward(accuracy, latency_ms, target_ms, RewardSettings()) == pytest.approx(expected, rel=1e-12)


@given(accuracies, st.floats(0.01, 1))
def test_hard_ignores_latency_below_the_target(accuracy: float, share: float) -> None:
    assert reward(accuracy, 75 * share, 75, RewardSettings(form="hard")) == accuracy


@given(accuracies, latencies, latencies, latencies)
def test_a_slower_network_never_earns_more(accuracy: float, one: float, other: float, target_ms: float) -> None:
    fast, slow = sorted((one, other))
    for form in (RewardSettings(), RewardSettings(form="hard")):
        assert reward(accuracy, slow, target_ms, form) <= reward(accuracy, fast, target_ms, form)


def test_own_exponents_replace_the_forms() -> None:
    assert reward(0.5, 150, 75, RewardSettings(beta=-2.0)) == 0.125


@pytest.mark.parametrize(
    ("accuracy", "latency_ms", "target_ms"),
    [(math.nan, 1, 1), (1.1, 1, 1), (-0.1, 1, 1), (0.5, 0, 1), (0.5, math.nan, 1), (0.5, 1, 0), (0.5, math.inf, 1)],
)
def test_a_number_that_is_no_measurement_is_refused(accuracy: float, latency_ms: float, target_ms: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        reward(accuracy, latency_ms, target_ms, RewardSettings())
