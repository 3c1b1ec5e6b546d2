from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.history import History

SIZES = (3, 1, 2, 2)
SPACE = list(product(*(range(size) for size in SIZES)))


@settings(deadline=None)
@given(members=st.lists(st.sampled_from(SPACE)), seed=st.integers(0, 2**32))
def test_members_are_kept_once_in_order_and_never_drawn(members: list[tuple[int, ...]], seed: int) -> None:
    history = History(SIZES)
    for position, member in enumerate(members):
        assert history.add(member) == (member not in members[:position])
    assert [tuple(row) for row in history.rows().tolist()] == list(dict.fromkeys(members))
    assert all((decisions in history) == (decisions in members) for decisions in SPACE)
    assert history.unseen_count == len(SPACE) - len(set(members))
    if history.unseen_count:
        assert history.draw_unseen(np.random.default_rng(seed)) not in members


def test_drawing_is_uniform_over_the_unseen() -> None:
    history = History(SIZES)
    for member in SPACE[::3]:
        history.add(member)
    unseen = [decisions for decisions in SPACE if decisions not in history]
    generator = np.random.default_rng(0)
    draws = 8000
    counts = Counter(history.draw_unseen(generator) for _ in range(draws))
    assert counts.keys() == set(unseen)
    expected = draws / len(unseen)
    chi_square = sum((counts[decisions] - expected) ** 2 / expected for decisions in unseen)
    assert chi_square < 24.3  # 0.1% of fair samples exceed it at 7 degrees of freedom.


def test_drawing_from_a_full_history_is_an_error() -> None:
    history = History((1,))
    history.add((0,))
    with pytest.raises(IndexError, match="every proposal"):
        history.draw_unseen(np.random.default_rng(0))


def test_spaces_beyond_64_bits_are_drawn_over_their_whole_range() -> None:
    history = History((1000,) * 60)
    generator = np.random.default_rng(0)
    draws = np.array([history.draw_unseen(generator) for _ in range(200)])
    assert (np.abs(draws.mean(axis=0) - 499.5) < 5 * 289 / 200**0.5).all()
    for draw in draws.tolist():
        assert history.add(tuple(draw))


def test_more_members_than_the_first_allocation_are_kept() -> None:
    history = History((7, 7, 7))
    members = [(i, j, k) for i in range(7) for j in range(7) for k in range(7)]
    for member in members:
        history.add(member)
    assert [tuple(row) for row in history.rows().tolist()] == members
    assert history.unseen_count == 0
