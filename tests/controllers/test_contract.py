"""What every strategy must do, whatever it learns."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers import Controller, ControllerError, Decisions, create, state_from_bytes, state_to_bytes

SMALL = {"hidden_units": 6, "embedding_units": 3}
MEMBERS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "local_search-first": ("local_search", {}),
    "local_search-best": ("local_search", {"improvement": "best"}),
    "regularized_evolution": ("regularized_evolution", {"population_size": 4, "sample_size": 2}),
    "reinforce": ("reinforce", {"batch_size": 4, **SMALL}),
    "ppo-tuned": ("ppo", {"preset": "tuned", "batch_size": 4, **SMALL}),
    "ppo-paper": ("ppo", {"preset": "paper", "batch_size": 4, **SMALL}),
}
DISTINCT_MEMBERS = [member for member in MEMBERS if member != "ppo-paper"]
SIZES = (3, 1, 2, 4, 2)


def make(member: str, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Controller:
    name, hyperparameters = MEMBERS[member]
    return create(name, sizes, seed=seed, **hyperparameters)


def reward_of(decisions: Decisions) -> float:
    return math.sin(sum((position + 1) * index for position, index in enumerate(decisions)))


def run(controller: Controller, trials: int) -> list[Decisions]:
    proposals = []
    for _ in range(trials):
        for proposal in controller.ask(1):
            controller.tell([proposal], [reward_of(proposal)])
            proposals.append(proposal)
    return proposals


def fits(decisions: Decisions, sizes: tuple[int, ...]) -> bool:
    return len(decisions) == len(sizes) and all(
        type(index) is int and 0 <= index < size for index, size in zip(decisions, sizes, strict=True)
    )


every_member = pytest.mark.parametrize("member", MEMBERS)
every_distinct_member = pytest.mark.parametrize("member", DISTINCT_MEMBERS)
decision_sizes = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


@every_member
@settings(max_examples=25, deadline=None)
@given(sizes=decision_sizes, seed=st.integers(0, 2**64), counts=st.lists(st.integers(0, 9), max_size=5))
def test_proposals_are_index_tuples_in_range(member: str, sizes: tuple[int, ...], seed: int, counts: list[int]) -> None:
    controller = make(member, sizes, seed)
    for count in counts:
        proposals = controller.ask(count)
        assert len(proposals) <= count
        assert all(fits(proposal, sizes) for proposal in proposals)
        controller.tell(proposals, [reward_of(proposal) for proposal in proposals])


@every_distinct_member
@settings(max_examples=25, deadline=None)
@given(sizes=decision_sizes, seed=st.integers(0, 2**32), count=st.integers(1, 70))
def test_a_space_is_proposed_once_each_and_then_nothing(
    member: str, sizes: tuple[int, ...], seed: int, count: int
) -> None:
    controller = make(member, sizes, seed)
    proposals = []
    while batch := controller.ask(count):
        controller.tell(batch, [reward_of(proposal) for proposal in batch])
        proposals += batch
    assert len(proposals) == len(set(proposals)) == math.prod(sizes)
    assert controller.ask(count) == []


@every_distinct_member
def test_foreign_results_are_not_proposed(member: str) -> None:
    controller = make(member, (2, 2))
    controller.tell([(0, 1), (1, 0)], [0.5, 0.25])
    assert sorted(controller.ask(4)) == [(0, 0), (1, 1)]


def test_the_paper_preset_may_repeat_a_proposal() -> None:
    assert max(Counter(make("ppo-paper", (2, 2)).ask(20)).values()) > 1


@every_member
def test_equal_seeds_give_equal_proposals(member: str) -> None:
    assert run(make(member, seed=3), 12) == run(make(member, seed=3), 12)


@every_member
def test_unequal_seeds_give_unequal_proposals(member: str) -> None:
    assert run(make(member, seed=3), 12) != run(make(member, seed=4), 12)


@every_member
def test_asking_for_nothing_gives_nothing_and_changes_nothing(member: str) -> None:
    controller = make(member)
    before = state_to_bytes(controller.state())
    assert controller.ask(0) == []
    assert state_to_bytes(controller.state()) == before


@every_member
@pytest.mark.parametrize("count", [-1, 1.5, True, "3", None])
def test_a_count_that_is_no_natural_number_is_refused(member: str, count: object) -> None:
    with pytest.raises(ControllerError, match="count"):
        make(member).ask(cast(int, count))


@every_member
@pytest.mark.parametrize("sizes", [(1,), (7,), (1, 1, 1), (2,) * 200, (5, 1, 2, 300) * 3], ids=str)
def test_unusual_decisions_work(member: str, sizes: tuple[int, ...]) -> None:
    controller = make(member, sizes)
    assert all(fits(proposal, sizes) for proposal in run(controller, 6))
    twin = make(member, sizes)
    twin.restore(controller.state())
    assert twin.ask(2) == controller.ask(2)


@every_member
def test_results_are_taken_late_in_any_order_and_in_part(member: str) -> None:
    controller = make(member, (4,) * 6)
    proposals = controller.ask(10)
    for proposal in reversed(proposals[:7]):
        controller.tell([proposal], [reward_of(proposal)])
    more = controller.ask(5)
    mixed = [more[4], proposals[9], more[0]]
    controller.tell(mixed, [reward_of(proposal) for proposal in mixed])
    assert all(fits(proposal, (4,) * 6) for proposal in controller.ask(5))


@every_member
def test_one_tell_of_many_results_equals_many_tells_of_one(member: str) -> None:
    together, alone = make(member), make(member)
    proposals = together.ask(9)
    assert alone.ask(9) == proposals
    rewards = [reward_of(proposal) for proposal in proposals]
    together.tell(proposals, rewards)
    for proposal, reward in zip(proposals, rewards, strict=True):
        alone.tell([proposal], [reward])
    assert state_to_bytes(together.state()) == state_to_bytes(alone.state())


@every_member
def test_a_proposal_may_be_told_again(member: str) -> None:
    controller = make(member)
    (proposal,) = controller.ask(1)
    for reward in (0.5, 0.75, 0.25, 0.5, 0.5):
        controller.tell([proposal], [reward])
    assert controller.ask(1)


@every_member
def test_integers_fractions_and_numpy_numbers_are_accepted(member: str) -> None:
    controller = make(member)
    indices: Any = tuple(np.array([2, 0, 1, 3, 1]))
    rewards: Any = [np.float32(0.5), 1, Fraction(1, 3), np.int64(2)]
    controller.tell([indices] * 4, rewards)
    assert controller.ask(1)


@every_member
@pytest.mark.parametrize("reward", [1e100, -1e100, 0.0, 5e-324])
def test_extreme_rewards_leave_the_state_finite(member: str, reward: float) -> None:
    controller = make(member)
    for _ in range(3):
        proposals = controller.ask(4)
        controller.tell(proposals, [reward, 0.0, reward, 0.0][: len(proposals)])
    state = controller.state()
    assert all(np.isfinite(value).all() for value in state.values() if isinstance(value, np.ndarray))


REFUSED: dict[str, tuple[list[Any], list[Any], str]] = {
    "nan": ([(0, 0, 0, 0, 0)], [math.nan], "nan"),
    "infinity": ([(0, 0, 0, 0, 0)], [math.inf], "inf"),
    "numpy nan": ([(0, 0, 0, 0, 0)], [np.float32("nan")], "nan"),
    "overflowing integer": ([(0, 0, 0, 0, 0)], [10**400], "finite"),
    "text": ([(0, 0, 0, 0, 0)], ["0.5"], "finite"),
    "nothing": ([(0, 0, 0, 0, 0)], [None], "finite"),
    "boolean": ([(0, 0, 0, 0, 0)], [True], "finite"),
    "too short": ([(0, 0, 0, 0)], [0.5], "4 indices.*5 decisions"),
    "too long": ([(0, 0, 0, 0, 0, 0)], [0.5], "6 indices.*5 decisions"),
    "index too high": ([(0, 0, 2, 0, 0)], [0.5], "decision 2.*from 0 to 1"),
    "index negative": ([(0, 0, 0, -1, 0)], [0.5], "decision 3.*from 0 to 3"),
    "index not integer": ([(0, 0, 0, 1.0, 0)], [0.5], "decision 3"),
    "reward missing": ([(0, 0, 0, 0, 0)], [], "1 proposals and 0 rewards"),
    "second of two": ([(0, 0, 0, 0, 0), (1, 0, 0, 0, 0)], [0.5, math.nan], "nan"),
}


@every_member
@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_result_is_refused_and_changes_nothing(member: str, case: str) -> None:
    proposals, rewards, message = REFUSED[case]
    controller = make(member)
    run(controller, 3)  # One result short of an update.
    before = state_to_bytes(controller.state())
    with pytest.raises(ControllerError, match=message):
        controller.tell(proposals, rewards)
    assert state_to_bytes(controller.state()) == before


@every_member
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_restored_controller_goes_on_exactly(member: str, data: st.DataObject) -> None:
    sizes = data.draw(decision_sizes)
    controller = make(member, sizes, seed=1)
    pending: list[Decisions] = []
    for _ in range(data.draw(st.integers(0, 6))):
        pending += controller.ask(data.draw(st.integers(0, 5)))
        told = pending[:: data.draw(st.integers(1, 3))]
        controller.tell(told, [reward_of(decisions) for decisions in told])
        pending = [decisions for decisions in pending if decisions not in told]

    stored = state_to_bytes(controller.state())
    twin = make(member, sizes, seed=2)
    twin.restore(state_from_bytes(stored))

    assert state_to_bytes(twin.state()) == stored
    for original in (controller, twin):
        original.tell(pending, [reward_of(decisions) for decisions in pending])
    assert run(twin, 6) == run(controller, 6)
    assert state_to_bytes(twin.state()) == state_to_bytes(controller.state())


@every_member
def test_replaying_a_run_gives_the_same_proposals_and_the_same_state(member: str) -> None:
    sizes = (4, 3, 2) * 4
    recorder = make(member, sizes, seed=5)
    generator = np.random.default_rng(0)
    log: list[tuple[str, list[Decisions], list[float]]] = []
    pending: list[Decisions] = []
    for _ in range(40):
        proposals = recorder.ask(int(generator.integers(1, 4)))
        log.append(("ask", proposals, []))
        pending += proposals
        told = [pending.pop(int(generator.integers(len(pending)))) for _ in range(2) if pending]
        rewards = [float(value) for value in generator.random(len(told))]
        recorder.tell(told, rewards)
        log.append(("tell", told, rewards))

    replayer = make(member, sizes, seed=5)
    for call, proposals, rewards in log:
        if call == "ask":
            assert replayer.ask(len(proposals)) == proposals
        else:
            replayer.tell(proposals, rewards)
    assert state_to_bytes(replayer.state()) == state_to_bytes(recorder.state())


@every_member
def test_a_state_is_a_copy(member: str) -> None:
    controller = make(member)
    run(controller, 3)
    state = controller.state()
    before = state_to_bytes(state)
    run(controller, 9)
    assert state_to_bytes(state) == before
    for value in state.values():
        if isinstance(value, np.ndarray):
            value[...] = 0
    twin = make(member)
    twin.restore(state_from_bytes(before))
    assert state_to_bytes(twin.state()) == before


@every_member
def test_a_restored_controller_does_not_change_the_state_it_came_from(member: str) -> None:
    controller = make(member)
    run(controller, 3)
    state = controller.state()
    before = state_to_bytes(state)
    twin = make(member)
    twin.restore(state)
    run(twin, 9)
    assert state_to_bytes(state) == before


@every_member
def test_a_state_of_other_decisions_is_refused(member: str) -> None:
    with pytest.raises(ControllerError, match=r"decision_sizes \[2, 2\].*\[3, 1, 2, 4, 2\]"):
        make(member).restore(make(member, (2, 2)).state())


@pytest.mark.parametrize(
    ("member", "other", "message"),
    [
        ("local_search-first", "local_search-best", "hyperparameter_improvement best.*has first"),
        ("regularized_evolution", "random", "strategy random.*regularized_evolution"),
        ("random", "ppo-tuned", "strategy ppo.*random"),
        ("ppo-tuned", "random", "strategy random.*ppo"),
        ("ppo-tuned", "ppo-paper", r"hyperparameter_learning_rate 0\.00035.*has 0\.01"),
    ],
)
def test_a_state_of_another_strategy_or_preset_is_refused(member: str, other: str, message: str) -> None:
    controller = make(member)
    before = state_to_bytes(controller.state())
    with pytest.raises(ControllerError, match=message):
        controller.restore(make(other).state())
    assert state_to_bytes(controller.state()) == before


@every_member
def test_a_state_with_any_value_missing_or_damaged_is_refused(member: str) -> None:
    source, target = make(member), make(member)
    run(source, 7)
    source.ask(2)
    before = state_to_bytes(target.state())
    for key in source.state():
        missing = source.state()
        del missing[key]
        for damaged in (
            missing,
            {**source.state(), key: "damaged"},
            {**source.state(), key: np.array([math.nan])},
        ):
            with pytest.raises(ControllerError, match=key):
                target.restore(damaged)
            assert state_to_bytes(target.state()) == before
