from __future__ import annotations

import numpy as np

from controllers import Controller, Decisions, create_controller

SIZES = (4,) * 20
FIRST, SECOND, THIRD = ((choice,) * 20 for choice in range(3))


def evolution(population_size: int, sample_size: int) -> Controller:
    return create_controller(
        "regularized_evolution", SIZES, seed=0, population_size=population_size, sample_size=sample_size
    )


def distance(one: Decisions, other: Decisions) -> int:
    return int(np.count_nonzero(np.array(one) != np.array(other)))


def test_the_first_proposals_are_random_and_then_come_children() -> None:
    controller = evolution(population_size=5, sample_size=5)
    population: list[Decisions] = []
    nearest = []
    for _ in range(8):
        (proposal,) = controller.ask(1)
        nearest.append(min((distance(proposal, member) for member in population), default=20))
        controller.tell([proposal], [float(sum(proposal))])
        population.append(proposal)
    assert min(nearest[:5]) > 5  # Random ones differ in about 15 decisions.
    assert nearest[5:] == [1, 1, 1]


def test_the_parent_is_the_best_of_a_sample_of_the_whole_population() -> None:
    controller = evolution(population_size=3, sample_size=200)  # A sample lacks one of three once in 10^35.
    controller.tell([FIRST, SECOND, THIRD], [0.1, 0.3, 0.2])
    assert all(distance(child, SECOND) == 1 for child in controller.ask(10))


def test_a_sample_of_one_lets_every_member_have_children() -> None:
    controller = evolution(population_size=3, sample_size=1)
    controller.tell([FIRST, SECOND, THIRD], [0.1, 0.3, 0.2])
    children = controller.ask(60)
    for parent in (FIRST, SECOND, THIRD):
        assert sum(distance(child, parent) == 1 for child in children) > 8  # Fewer once in 1,000 fair draws.


def test_the_oldest_member_leaves_the_population_however_good_it_is() -> None:
    controller = evolution(population_size=2, sample_size=200)
    controller.tell([FIRST, SECOND, THIRD], [0.9, 0.1, 0.2])
    assert all(distance(child, THIRD) == 1 for child in controller.ask(10))


def test_results_count_in_the_order_in_which_they_are_told() -> None:
    controller = evolution(population_size=2, sample_size=200)
    proposals = controller.ask(3)
    controller.tell(proposals[::-1], [0.1, 0.2, 0.9])  # The first proposal is told last.
    controller.tell([SECOND], [0.5])
    assert all(distance(child, proposals[0]) == 1 for child in controller.ask(10))


def test_proposals_are_random_while_no_result_has_arrived() -> None:
    proposals = evolution(population_size=2, sample_size=2).ask(6)
    assert min(distance(one, other) for one in proposals for other in proposals if one != other) > 5


def test_a_family_that_is_used_up_is_left_for_a_random_proposal() -> None:
    controller = create_controller("regularized_evolution", (2,) * 12, seed=0, population_size=1)
    controller.tell([(0,) * 12], [1.0])
    children = controller.ask(12)
    assert {sum(child) for child in children} == {1}
    assert sum(controller.ask(1)[0]) > 1
