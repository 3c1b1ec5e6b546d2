from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from controllers import Decisions
from controllers.climb import MEMORY_SIZE, Climb
from controllers.history import History
from controllers.neighbourhood import neighbours
from controllers.results import Result

SIZES = (3,) * 8
SUMMIT = (2,) * 8
ELSEWHERE = [tuple(int(digit) for digit in np.base_repr(number * 137, 3).zfill(8)) for number in range(12)]


def reward(decisions: Decisions) -> float:
    return float(sum(decisions))


def climb_with(proposals: Sequence[Decisions]) -> tuple[Climb, History]:
    climb, history = Climb(SIZES), History(SIZES)
    for decisions in proposals:
        history.add(decisions)
        climb.add(Result(decisions, reward(decisions)))
    return climb, history


def test_the_best_are_kept_in_order_and_each_proposal_once() -> None:
    climb = Climb((9,))
    for choice, value in zip([0, 1, 2, 3, 0, 4, 4], [0.1, 0.5, 0.3, 0.3, 0.4, 0.9, 0.2], strict=True):
        climb.add(Result((choice,), value))
    assert [result.decisions[0] for result in climb.best] == [4, 1, 0, 2, 3]
    assert [result.reward for result in climb.best] == [0.9, 0.5, 0.4, 0.3, 0.3]


def test_memory_holds_the_best_and_the_latest_results_only() -> None:
    climb = Climb((1000,))
    for choice in range(300):
        climb.add(Result((choice,), -float(choice)))
    assert [result.decisions[0] for result in climb.best] == list(range(MEMORY_SIZE))
    assert [result.decisions[0] for result in climb.latest] == list(range(300 - MEMORY_SIZE, 300))


def test_nothing_is_proposed_from_a_few_results() -> None:
    climb, history = climb_with(ELSEWHERE[:9])
    assert climb.propose(history, ()) == (None, False)


def test_the_proposal_is_an_unseen_neighbour_of_the_best() -> None:
    climb, history = climb_with([*ELSEWHERE, SUMMIT])
    for _ in range(16):
        proposal, converged = climb.propose(history, ())
        assert proposal in neighbours(SUMMIT, SIZES)
        assert not converged
        assert history.add(proposal)


def test_the_neighbour_like_good_proposals_comes_first() -> None:
    tails = [(2, 0, 0, 0), (2, 1, 0, 0), (2, 0, 2, 0), (2, 0, 0, 1)]
    bad_tails = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 1, 1)]
    told = [(1, 1, 1, 1, *tail) for tail in tails] + [(0, 0, 0, 0, *tail) for tail in bad_tails]
    climb, history = climb_with(told)
    proposal, _ = climb.propose(history, ())
    assert proposal is not None
    assert proposal[4] == 2  # All good ones have it, so it is not given up first.


def test_a_climb_has_converged_when_all_neighbours_of_the_best_are_told() -> None:
    climb, history = climb_with([*ELSEWHERE, *neighbours(SUMMIT, SIZES), SUMMIT])
    assert climb.propose(history, ()) == (None, True)


def test_a_climb_goes_on_at_the_next_best_while_results_are_pending() -> None:
    around = neighbours(SUMMIT, SIZES)
    climb, history = climb_with([*ELSEWHERE, SUMMIT])
    for neighbour in around:
        history.add(neighbour)
    proposal, converged = climb.propose(history, around[:2])
    assert proposal is not None
    assert proposal not in around
    assert not converged


def test_a_promising_proposal_that_is_pending_is_built_upon() -> None:
    base = (1, 1, 1, 1, 1, 1, 1, 1)
    steps = [(2, *base[1:]), (1, 2, *base[2:]), (1, 1, 2, *base[3:])]
    climb, history = climb_with(ELSEWHERE)
    for told, value in [(base, 20.0), *((step, 21.0) for step in steps)]:  # All better than those elsewhere.
        climb.add(Result(told, value))
    for seen in [neighbour for told in (base, *steps) for neighbour in neighbours(told, SIZES)]:
        history.add(seen)
    both = (2, 2, *base[2:])
    assert climb.propose(history, ())[0] not in neighbours(both, SIZES)
    assert climb.propose(history, (both,))[0] in neighbours(both, SIZES)


def test_one_result_that_never_comes_does_not_hold_the_climb() -> None:
    around = neighbours(SUMMIT, SIZES)
    climb, history = climb_with([*ELSEWHERE, *around, SUMMIT])
    assert climb.propose(history, around[:1]) == (None, True)


def test_the_smoothed_best_leads_and_not_a_lucky_one() -> None:
    climb, history = climb_with([*ELSEWHERE, SUMMIT])
    lucky = ELSEWHERE[0]
    for value in (reward(SUMMIT) + 1.0, *[reward(lucky)] * 5):  # Evaluated again, it is not what it seemed.
        climb.add(Result(lucky, value))
    proposal, _ = climb.propose(history, ())
    assert proposal in neighbours(SUMMIT, SIZES)


@pytest.mark.parametrize("sizes", [(1,), (1, 1, 1)])
def test_a_space_of_one_proposal_has_converged_at_once(sizes: tuple[int, ...]) -> None:
    climb, history = Climb(sizes), History(sizes)
    only = (0,) * len(sizes)
    history.add(only)
    for _ in range(10):
        climb.add(Result(only, 1.0))
    assert climb.propose(history, ()) == (None, True)
