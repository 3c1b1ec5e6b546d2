from __future__ import annotations

import numpy as np
import pytest

from controllers import Controller, Decisions, create_controller
from controllers.neighbourhood import neighbours

SIZES = (3, 2, 4)
NEIGHBOURS = 6


def climb_from(start: Decisions, improvement: str = "first") -> Controller:
    controller = create_controller("local_search", SIZES, seed=0, improvement=improvement)
    controller.tell([start], [0.0])
    return controller


def distance(one: Decisions, other: Decisions) -> int:
    return int(np.count_nonzero(np.array(one) != np.array(other)))


@pytest.mark.parametrize("improvement", ["first", "best"])
def test_all_neighbours_of_the_start_come_before_anything_else(improvement: str) -> None:
    controller = climb_from((0, 0, 0), improvement)
    assert sorted(controller.ask(NEIGHBOURS)) == sorted(neighbours((0, 0, 0), SIZES))


def test_first_improvement_leaves_at_once_for_a_better_neighbour() -> None:
    controller = climb_from((0, 0, 0))
    (better,) = controller.ask(1)
    controller.tell([better], [1.0])
    assert all(distance(proposal, better) == 1 for proposal in controller.ask(3))


def test_best_improvement_proposes_all_neighbours_and_leaves_for_the_best() -> None:
    controller = climb_from((0, 0, 0), "best")
    proposals = []
    for reward in (1.0, 3.0, 2.0, -1.0, 0.5, 0.0):
        (proposal,) = controller.ask(1)
        controller.tell([proposal], [reward])
        proposals.append(proposal)
    assert sorted(proposals) == sorted(neighbours((0, 0, 0), SIZES))
    assert all(distance(proposal, proposals[1]) == 1 for proposal in controller.ask(3))


def test_an_equal_neighbour_is_no_improvement() -> None:
    controller = climb_from((0, 0, 0))
    proposals = controller.ask(NEIGHBOURS - 1)
    controller.tell(proposals, [0.0] * len(proposals))
    (last,) = controller.ask(1)
    assert last in neighbours((0, 0, 0), SIZES)


def test_a_local_optimum_is_left_for_a_random_start() -> None:
    sizes = (2,) * 40
    controller = create_controller("local_search", sizes, seed=0)
    controller.tell([(0,) * 40], [0.0])
    controller.tell(controller.ask(40), [-1.0] * 40)
    (start,) = controller.ask(1)
    assert sum(start) > 5  # A fair draw has fewer ones once in 10 million.


def test_the_climb_goes_on_from_a_start_however_bad_it_is() -> None:
    controller = climb_from((0, 0, 0))
    controller.tell(controller.ask(NEIGHBOURS), [-1.0] * NEIGHBOURS)
    (start,) = controller.ask(1)
    controller.tell([start], [-9.0])
    assert all(distance(proposal, start) == 1 for proposal in controller.ask(2))


def late_neighbour_of_an_old_climb(reward: float) -> tuple[Decisions, list[Decisions]]:
    sizes = (2,) * 40
    controller = create_controller("local_search", sizes, seed=0)
    controller.tell([(0,) * 40], [0.0])
    late, *others = controller.ask(40)
    controller.tell(others, [-1.0] * 39)
    (start,) = controller.ask(1)
    controller.tell([start], [-9.0])
    controller.ask(1)
    controller.tell([late], [reward])
    return late, controller.ask(5)


def test_a_late_neighbour_that_beats_its_own_incumbent_is_climbed_to() -> None:
    late, proposals = late_neighbour_of_an_old_climb(1.0)
    assert all(distance(proposal, late) == 1 for proposal in proposals)


def test_a_late_neighbour_that_does_not_beat_its_own_incumbent_does_not_lead_back() -> None:
    late, proposals = late_neighbour_of_an_old_climb(-0.5)
    assert all(distance(proposal, late) > 1 for proposal in proposals)


def test_no_proposal_waits_for_results() -> None:
    controller = climb_from((0, 0, 0))
    assert len(set(controller.ask(NEIGHBOURS + 5))) == NEIGHBOURS + 5


def test_the_best_foreign_result_is_the_start() -> None:
    controller = create_controller("local_search", SIZES, seed=0)
    controller.tell([(0, 0, 0), (2, 1, 3), (1, 0, 1)], [0.1, 0.3, 0.2])
    assert all(distance(proposal, (2, 1, 3)) == 1 for proposal in controller.ask(3))


def test_a_sum_of_decisions_is_solved_in_one_climb() -> None:
    sizes = (3,) * 8
    controller = create_controller("local_search", sizes, seed=1)
    best = -np.inf
    for _ in range(100):
        (proposal,) = controller.ask(1)
        reward = float(sum(proposal))
        controller.tell([proposal], [reward])
        best = max(best, reward)
    assert best == 16.0
