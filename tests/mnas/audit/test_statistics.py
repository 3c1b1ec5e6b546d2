import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.audit.statistics import (
    FEWEST_NETWORKS,
    Spread,
    optimism,
    spread_of,
    tau_interval,
    tau_of,
    tau_with_other_seeds,
)


@given(st.floats(-1, 1), st.integers(FEWEST_NETWORKS, 50))
def test_the_interval_holds_tau_and_shrinks_with_more_networks(tau: float, networks: int) -> None:
    low, high = tau_interval(tau, networks)
    assert -1 <= low <= tau <= high <= 1
    assert low < high
    more_low, more_high = tau_interval(tau, 4 * networks)
    assert more_high - more_low < high - low


def test_a_perfect_order_of_few_networks_is_not_certain() -> None:
    low, high = tau_interval(1.0, 6)
    assert high == 1
    assert low < 0.9


def test_too_few_networks_have_no_interval() -> None:
    with pytest.raises(ValueError, match="needs 5"):
        tau_interval(0.5, 4)


@pytest.mark.parametrize("correlation", [0.0, 0.7, 0.95])
def test_the_interval_covers_the_true_tau_of_normal_values(correlation: float) -> None:
    random, networks, rounds = np.random.default_rng(0), 12, 400
    true = 2 / math.pi * math.asin(correlation)
    covered = 0
    for _ in range(rounds):
        first = random.normal(size=networks)
        second = correlation * first + math.sqrt(1 - correlation**2) * random.normal(size=networks)
        low, high = tau_interval(tau_of(first, second), networks)
        covered += low <= true <= high
    assert covered / rounds > 0.92


def test_a_seed_is_not_compared_with_itself() -> None:
    noise = np.random.default_rng(1).normal(size=(300, 3))  # networks that do not differ
    assert abs(tau_with_other_seeds(noise, noise).tau) < 0.15


def test_one_seed_is_compared_with_the_others() -> None:
    full = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [0.5, 0.5]])
    assert tau_with_other_seeds(full[:, :1], full).tau == -1


def test_equal_values_order_nothing() -> None:
    assert tau_of(np.array([0.1, 0.1, 0.1]), np.array([1.0, 2.0, 3.0])) == 0


def test_noise_and_spread_are_told_apart() -> None:
    random = np.random.default_rng(2)
    values = random.normal(0.0, 0.04, (400, 1)) + random.normal(0.0, 0.02, (400, 3))
    spread = spread_of(values)
    assert spread.freedom == 800
    assert math.isclose(spread.noise, 0.02, rel_tol=0.1)
    assert math.isclose(spread.between, 0.04, rel_tol=0.1)
    assert math.isclose(spread.reliability, 0.8, rel_tol=0.1)


def test_equal_values_have_neither() -> None:
    spread = spread_of(np.full((5, 2), 0.3))
    assert (spread.noise, spread.between, spread.reliability) == (0.0, 0.0, 0.0)


def test_the_optimism_is_that_of_simulated_searches() -> None:
    random, spread, count = np.random.default_rng(3), Spread(0.03, 24, 0.04), 30
    true = random.normal(0.0, spread.between, (4000, count))
    seen = true + random.normal(0.0, spread.noise, true.shape)
    best = seen.argmax(axis=1)[:, None]
    overstated = (np.take_along_axis(seen, best, 1) - np.take_along_axis(true, best, 1)).mean()
    assert math.isclose(optimism(spread, count), overstated, rel_tol=0.05)


def test_the_only_one_is_not_overstated() -> None:
    assert optimism(Spread(0.03, 24, 0.04), 1) == 0
