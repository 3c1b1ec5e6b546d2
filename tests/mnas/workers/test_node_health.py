"""Which nodes are left out, by the losses that they have had."""

import pytest

from mnas.workers.node_health import MAX_REST_S, REST_S, ROUNDS_OF_LOSSES, NodeHealth

LIMIT = 2 * ROUNDS_OF_LOSSES  # of a node with two workers


def lose(health: NodeHealth, count: int, now_s: float = 0.0, first: int = 0) -> list[float | None]:
    return [health.record_loss("a", child, 2, now_s) for child in range(first, first + count)]


def test_a_node_is_left_out_after_losses_in_a_row_on_each_of_its_workers() -> None:
    health = NodeHealth()
    assert lose(health, LIMIT) == [None] * (LIMIT - 1) + [REST_S]
    assert health.left_out(["a", "b"], REST_S - 1) == {"a"}
    assert health.left_out(["a", "b"], REST_S) == set()


def test_a_success_ends_the_row() -> None:
    health = NodeHealth()
    lose(health, LIMIT - 1)
    health.record_success("a")
    assert lose(health, LIMIT - 1) == [None] * (LIMIT - 1)


def test_the_rest_doubles_until_the_node_trains_a_child() -> None:
    health = NodeHealth()
    lose(health, LIMIT)
    day_s = 24 * 3600.0
    rests = [lose(health, 2, day * day_s)[-1] for day in range(1, 7)]  # one for each worker is enough now
    assert rests == [min(REST_S * 2**times, MAX_REST_S) for times in range(1, 7)]
    health.record_success("a")
    assert lose(health, LIMIT, 7 * day_s)[-1] == REST_S


def test_losses_while_it_is_left_out_do_not_count() -> None:
    health = NodeHealth()
    lose(health, LIMIT)
    assert lose(health, 50, REST_S - 1) == [None] * 50
    assert health.left_out(["a", "b"], REST_S) == set()


def test_one_child_alone_does_not_put_a_node_out() -> None:
    health = NodeHealth()
    assert [health.record_loss("a", "the same", 1, 0.0) for _ in range(20)] == [None] * 20


def test_all_nodes_are_never_left_out() -> None:
    health = NodeHealth()
    lose(health, LIMIT)
    assert health.left_out(["a"], 0.0) == set()


@pytest.mark.parametrize(
    ("works", "others", "expected"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_child_stands_alone_if_its_node_has_trained_others_and_loses_no_other(
    works: bool, others: bool, expected: bool
) -> None:
    health = NodeHealth()
    if works:
        health.record_success("a")
    if others:
        health.record_loss("a", "other", 4, 0.0)
    health.record_loss("a", "child", 4, 0.0)
    assert health.vouches_against("child", ["a", "a"]) is expected
