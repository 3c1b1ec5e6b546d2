from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from experiments.benchmarks.search_tables import climb, macro_table, surrogate_table

# Decisions of 3 and 2 choices: marks are (first is 1, first is 2, second is 1).
ARRAYS = {
    "K": np.array([3, 2]),
    "acc_b": np.array(50.0),
    "acc_lin": np.array([1.0, 2.0, 4.0]),
    "acc_M": np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 8.0], [0.0, 0.0, 0.0]]),
    "log_latency_phone_b": np.array(0.0),
    "log_latency_phone_lin": np.array([0.0, 0.0, 1.0]),
    "log_latency_phone_M": np.zeros((3, 3)),
    "log_throughput_phone_b": np.array(0.0),
    "log_throughput_phone_lin": np.array([0.0, 0.0, 1.0]),
    "log_throughput_phone_M": np.zeros((3, 3)),
}
ALL_OF_THEM = np.array([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)])
ACCURACIES = [50.0, 51.0, 52.0, 54.0, 55.0, 64.0]
GENERATOR = np.random.default_rng(0)


def test_the_surrogate_adds_choices_and_pairs_of_choices_and_multiplies_by_latency() -> None:
    latency_factors = [1.0] * 3 + [math.e**-0.07] * 3
    expected = [accuracy * factor for accuracy, factor in zip(ACCURACIES, latency_factors, strict=True)]
    assert surrogate_table(ARRAYS, "log_latency_phone").rewards(ALL_OF_THEM) == pytest.approx(expected)


def test_throughput_is_rewarded_where_latency_is_punished() -> None:
    table = surrogate_table(ARRAYS, "log_throughput_phone")
    assert table.rewards(ALL_OF_THEM)[5] == pytest.approx(64.0 * math.e**0.07)


def test_optimum_and_median_are_those_of_the_surrogate() -> None:
    table = surrogate_table(ARRAYS, "log_latency_phone")
    values = table.rewards(ALL_OF_THEM)
    assert table.optimum == pytest.approx(values.max())
    assert sorted(values)[2] <= table.median <= sorted(values)[3]


def test_an_evaluation_without_noise_is_the_true_reward() -> None:
    table = surrogate_table(ARRAYS, "log_latency_phone")
    assert (table.observe(ALL_OF_THEM, GENERATOR) == table.rewards(ALL_OF_THEM)).all()


def test_noise_has_the_given_size_in_accuracy() -> None:
    table = surrogate_table(ARRAYS, "log_latency_phone", noise=0.5)
    many = np.zeros((4000, 2), dtype=np.int64)
    observed = table.observe(many, GENERATOR)
    assert observed.mean() == pytest.approx(50.0, abs=0.05)
    assert observed.std() == pytest.approx(0.5, rel=0.1)


def test_climbing_ends_at_a_local_optimum() -> None:
    # From (0, 0), both single changes lose; (1, 1) is better and out of reach.
    values = {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 0.0, (1, 1): 2.0}
    found = climb((2, 2), lambda batch: np.array([values[tuple(row)] for row in batch.tolist()]), np.array([0, 0]))
    assert found == 1.0


MACRO = np.array(list(itertools.product(range(3), repeat=2)))[::-1]
TRAININGS = np.array([[total, total + 3.0, total + 6.0] for total in (MACRO * [10, 1]).sum(axis=1)])


def test_a_network_of_the_table_has_the_mean_of_its_trainings() -> None:
    table = macro_table(MACRO, TRAININGS, noisy=False)
    assert table.rewards(np.array([[2, 1], [0, 2]])).tolist() == [24.0, 5.0]
    assert (table.optimum, table.median) == (25.0, 14.0)


def test_a_noisy_evaluation_is_one_of_the_trainings() -> None:
    table = macro_table(MACRO, TRAININGS, noisy=True)
    assert set(table.observe(np.array([[2, 1]] * 100), GENERATOR).tolist()) == {21.0, 24.0, 27.0}
