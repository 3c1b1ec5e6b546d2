from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from controllers.neighbourhood import mutate, neighbours, shuffled_neighbours

SIZES = (3, 1, 2)


def test_neighbours_change_one_decision_each() -> None:
    assert neighbours((1, 0, 1), SIZES) == [(0, 0, 1), (2, 0, 1), (1, 0, 0)]


def test_decisions_without_choices_have_no_neighbours() -> None:
    assert neighbours((0, 0), (1, 1)) == []


def test_shuffling_keeps_the_neighbours_and_changes_their_order() -> None:
    sizes, origin = (5,) * 10, (0,) * 10
    shuffled = shuffled_neighbours(origin, sizes, np.random.default_rng(0))
    assert sorted(shuffled) == sorted(neighbours(origin, sizes))
    assert shuffled != shuffled_neighbours(origin, sizes, np.random.default_rng(1))


def test_a_mutation_is_uniform_over_decisions_and_then_over_choices() -> None:
    generator = np.random.default_rng(0)
    counts = Counter(mutate((1, 0, 1), SIZES, generator) for _ in range(4000))
    expected = {(0, 0, 1): 1000, (2, 0, 1): 1000, (1, 0, 0): 2000}
    chi_square = sum((counts[child] - count) ** 2 / count for child, count in expected.items())
    assert counts.keys() == expected.keys()
    assert chi_square < 13.8  # 0.1% of fair samples exceed it at 2 degrees of freedom.


def test_the_only_proposal_of_a_space_cannot_mutate() -> None:
    with pytest.raises(ValueError, match="no neighbours"):
        mutate((0, 0), (1, 1), np.random.default_rng(0))
