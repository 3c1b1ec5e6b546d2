"""The tests that every controller must pass, for controllers of this package and of your own.

They need pytest and Hypothesis, which `import controllers` does not load. In a test module of your own:

    from controllers.contract import ControllerContract

    class TestMyController(ControllerContract):
        def make(self, decision_sizes, seed):
            return MyController(decision_sizes, seed=seed)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controllers.controller import Controller, ControllerError, Decisions
from controllers.state import state_from_bytes, state_to_bytes

SIZES = (3, 1, 2, 4, 2)
REFUSED_RESULTS: dict[str, tuple[list[Any], list[Any]]] = {
    "nan": ([(0, 0, 0, 0, 0)], [math.nan]),
    "infinity": ([(0, 0, 0, 0, 0)], [math.inf]),
    "numpy nan": ([(0, 0, 0, 0, 0)], [np.float32("nan")]),
    "overflowing integer": ([(0, 0, 0, 0, 0)], [10**400]),
    "text": ([(0, 0, 0, 0, 0)], ["0.5"]),
    "nothing": ([(0, 0, 0, 0, 0)], [None]),
    "boolean": ([(0, 0, 0, 0, 0)], [True]),
    "too short": ([(0, 0, 0, 0)], [0.5]),
    "too long": ([(0, 0, 0, 0, 0, 0)], [0.5]),
    "index too high": ([(0, 0, 2, 0, 0)], [0.5]),
    "index negative": ([(0, 0, 0, -1, 0)], [0.5]),
    "index not integer": ([(0, 0, 0, 1.0, 0)], [0.5]),
    "reward missing": ([(0, 0, 0, 0, 0)], []),
    "second of two": ([(0, 0, 0, 0, 0), (1, 0, 0, 0, 0)], [0.5, math.nan]),
}
"""Proposals and rewards for decisions of `SIZES` that `tell` must refuse."""

_any_sizes = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)
# Hypothesis warns of a test that several classes inherit; here every class brings its own `make`.
_inherited = [HealthCheck.differing_executors]


def reward_of(decisions: Decisions) -> float:
    """Return a reward that depends on every decision."""
    return math.sin(sum((position + 1) * index for position, index in enumerate(decisions)))


def run_trials(controller: Controller, trials: int) -> list[Decisions]:
    """Ask for and tell one proposal at a time; return the proposals."""
    proposals = []
    for _ in range(trials):
        for proposal in controller.ask(1):
            controller.tell([proposal], [reward_of(proposal)])
            proposals.append(proposal)
    return proposals


def fits(decisions: Decisions, sizes: tuple[int, ...]) -> bool:
    """Return whether a proposal is a tuple of Python ints within the decision sizes."""
    return len(decisions) == len(sizes) and all(
        type(index) is int and 0 <= index < size for index, size in zip(decisions, sizes, strict=True)
    )


class ControllerContract(ABC):
    """The contract; a subclass named `Test...` says how its controller is made.

    Attributes:
        distinct: Whether the controller never repeats a proposal, and never proposes what it was told.
        random: Whether another seed gives other proposals.
        checks_input: Whether the controller refuses wrong calls. A search makes none, so a controller that is used
            in searches only may do without checks.
    """

    distinct: ClassVar[bool] = True
    random: ClassVar[bool] = True
    checks_input: ClassVar[bool] = True

    @abstractmethod
    def make(self, decision_sizes: tuple[int, ...], seed: int) -> Controller:
        """Return a new controller. Learn from few results (at most 4), so that short tests reach an update."""

    @settings(max_examples=25, deadline=None, suppress_health_check=_inherited)
    @given(sizes=_any_sizes, seed=st.integers(0, 2**64), counts=st.lists(st.integers(0, 9), max_size=5))
    def test_proposals_are_indices_in_range(self, sizes: tuple[int, ...], seed: int, counts: list[int]) -> None:
        """`ask` returns at most `count` tuples that fit the decisions."""
        controller = self.make(sizes, seed)
        for count in counts:
            proposals = controller.ask(count)
            assert len(proposals) <= count
            assert all(fits(proposal, sizes) for proposal in proposals)
            controller.tell(proposals, [reward_of(proposal) for proposal in proposals])

    @settings(max_examples=25, deadline=None, suppress_health_check=_inherited)
    @given(sizes=_any_sizes, seed=st.integers(0, 2**32), count=st.integers(1, 70))
    def test_a_space_is_proposed_once_each_and_then_nothing(
        self, sizes: tuple[int, ...], seed: int, count: int
    ) -> None:
        """A distinct controller proposes the whole space once and then returns an empty list."""
        self._skip_unless_distinct()
        controller = self.make(sizes, seed)
        proposals = []
        while batch := controller.ask(count):
            controller.tell(batch, [reward_of(proposal) for proposal in batch])
            proposals += batch
        assert len(proposals) == len(set(proposals)) == math.prod(sizes)
        assert controller.ask(count) == []

    def test_foreign_results_are_not_proposed(self) -> None:
        """A distinct controller does not propose what it was told without having proposed it."""
        self._skip_unless_distinct()
        controller = self.make((2, 2), 0)
        controller.tell([(0, 1), (1, 0)], [0.5, 0.25])
        assert sorted(controller.ask(4)) == [(0, 0), (1, 1)]

    def test_equal_seeds_give_equal_proposals(self) -> None:
        """All randomness comes from the seed."""
        assert run_trials(self.make(SIZES, 3), 12) == run_trials(self.make(SIZES, 3), 12)

    def test_unequal_seeds_give_unequal_proposals(self) -> None:
        """A random controller uses its seed."""
        if not self.random:
            pytest.skip("this controller is not random")
        assert run_trials(self.make(SIZES, 3), 12) != run_trials(self.make(SIZES, 4), 12)

    def test_asking_for_nothing_changes_nothing(self) -> None:
        """`ask(0)` returns an empty list and leaves the state as it is."""
        controller = self.make(SIZES, 0)
        before = state_to_bytes(controller.state())
        assert controller.ask(0) == []
        assert state_to_bytes(controller.state()) == before

    @pytest.mark.parametrize("count", [-1, 1.5, True, "3", None])
    def test_a_count_that_is_no_natural_number_is_refused(self, count: object) -> None:
        """`ask` refuses what `check_count` refuses."""
        self._skip_unless_checked()
        with pytest.raises(ControllerError, match="count"):
            self.make(SIZES, 0).ask(cast(int, count))

    @pytest.mark.parametrize("sizes", [(1,), (7,), (1, 1, 1), (2,) * 200, (5, 1, 2, 300) * 3], ids=str)
    def test_unusual_decisions_work(self, sizes: tuple[int, ...]) -> None:
        """One decision, decisions without a choice, many decisions and large ones work."""
        controller = self.make(sizes, 0)
        assert all(fits(proposal, sizes) for proposal in run_trials(controller, 6))
        twin = self.make(sizes, 0)
        twin.restore(controller.state())
        assert twin.ask(2) == controller.ask(2)

    def test_results_are_taken_late_in_any_order_and_in_part(self) -> None:
        """`tell` takes pending proposals of several calls of `ask` in any order."""
        controller = self.make((4,) * 6, 0)
        proposals = controller.ask(10)
        for proposal in reversed(proposals[:7]):
            controller.tell([proposal], [reward_of(proposal)])
        more = controller.ask(5)
        mixed = [more[4], proposals[9], more[0]]
        controller.tell(mixed, [reward_of(proposal) for proposal in mixed])
        assert all(fits(proposal, (4,) * 6) for proposal in controller.ask(5))

    def test_one_tell_of_many_results_equals_many_tells_of_one(self) -> None:
        """How results are grouped into calls of `tell` does not matter."""
        together, alone = self.make(SIZES, 0), self.make(SIZES, 0)
        proposals = together.ask(9)
        assert alone.ask(9) == proposals
        rewards = [reward_of(proposal) for proposal in proposals]
        together.tell(proposals, rewards)
        for proposal, reward in zip(proposals, rewards, strict=True):
            alone.tell([proposal], [reward])
        assert state_to_bytes(together.state()) == state_to_bytes(alone.state())

    def test_a_proposal_may_be_told_again(self) -> None:
        """`tell` takes further results of the same proposal."""
        controller = self.make(SIZES, 0)
        (proposal,) = controller.ask(1)
        for reward in (0.5, 0.75, 0.25, 0.5, 0.5):
            controller.tell([proposal], [reward])
        assert controller.ask(1)

    def test_integers_fractions_and_numpy_numbers_are_accepted(self) -> None:
        """`tell` takes every kind of real number and of integer."""
        controller = self.make(SIZES, 0)
        indices: Any = tuple(np.array([2, 0, 1, 3, 1]))
        rewards: Any = [np.float32(0.5), 1, Fraction(1, 3), np.int64(2)]
        controller.tell([indices] * 4, rewards)
        assert controller.ask(1)

    @pytest.mark.parametrize("reward", [1e100, -1e100, 0.0, 5e-324])
    def test_extreme_rewards_leave_the_state_finite(self, reward: float) -> None:
        """No sum or square of rewards overflows."""
        controller = self.make(SIZES, 0)
        for _ in range(3):
            proposals = controller.ask(4)
            controller.tell(proposals, [reward, 0.0, reward, 0.0][: len(proposals)])
        state = controller.state()
        assert all(np.isfinite(value).all() for value in state.values() if isinstance(value, np.ndarray))

    @pytest.mark.parametrize("case", REFUSED_RESULTS)
    def test_a_bad_result_is_refused_and_changes_nothing(self, case: str) -> None:
        """`tell` refuses what `check_results` refuses, before it learns anything."""
        self._skip_unless_checked()
        proposals, rewards = REFUSED_RESULTS[case]
        controller = self.make(SIZES, 0)
        run_trials(controller, 3)  # With a batch of 4, one result short of an update.
        before = state_to_bytes(controller.state())
        with pytest.raises(ControllerError):
            controller.tell(proposals, rewards)
        assert state_to_bytes(controller.state()) == before

    @settings(max_examples=20, deadline=None, suppress_health_check=_inherited)
    @given(data=st.data())
    def test_a_restored_controller_goes_on_exactly(self, data: st.DataObject) -> None:
        """A controller of another seed that restores a state, pending proposals included, continues the same run."""
        sizes = data.draw(_any_sizes)
        controller = self.make(sizes, 1)
        pending: list[Decisions] = []
        for _ in range(data.draw(st.integers(0, 6))):
            pending += controller.ask(data.draw(st.integers(0, 5)))
            told = pending[:: data.draw(st.integers(1, 3))]
            controller.tell(told, [reward_of(decisions) for decisions in told])
            pending = [decisions for decisions in pending if decisions not in told]

        stored = state_to_bytes(controller.state())
        twin = self.make(sizes, 2)
        twin.restore(state_from_bytes(stored))

        assert state_to_bytes(twin.state()) == stored
        for original in (controller, twin):
            original.tell(pending, [reward_of(decisions) for decisions in pending])
        assert run_trials(twin, 6) == run_trials(controller, 6)
        assert state_to_bytes(twin.state()) == state_to_bytes(controller.state())

    def test_replaying_a_run_gives_the_same_proposals_and_the_same_state(self) -> None:
        """The same calls on a new controller of the same seed give the same run."""
        sizes = (4, 3, 2) * 4
        recorder = self.make(sizes, 5)
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

        replayer = self.make(sizes, 5)
        for call, proposals, rewards in log:
            if call == "ask":
                assert replayer.ask(len(proposals)) == proposals
            else:
                replayer.tell(proposals, rewards)
        assert state_to_bytes(replayer.state()) == state_to_bytes(recorder.state())

    def test_a_state_is_a_copy(self) -> None:
        """Neither later calls change a state, nor does a change of the state reach the controller."""
        controller = self.make(SIZES, 0)
        run_trials(controller, 3)
        state = controller.state()
        before = state_to_bytes(state)
        run_trials(controller, 9)
        assert state_to_bytes(state) == before
        for value in state.values():
            if isinstance(value, np.ndarray):
                value[...] = 0
        twin = self.make(SIZES, 0)
        twin.restore(state_from_bytes(before))
        assert state_to_bytes(twin.state()) == before

    def test_a_restored_controller_does_not_change_the_state_it_came_from(self) -> None:
        """`restore` copies what it takes from a state."""
        controller = self.make(SIZES, 0)
        run_trials(controller, 3)
        state = controller.state()
        before = state_to_bytes(state)
        twin = self.make(SIZES, 0)
        twin.restore(state)
        run_trials(twin, 9)
        assert state_to_bytes(state) == before

    def test_a_state_of_other_decisions_is_refused(self) -> None:
        """`restore` refuses a state of other decision sizes."""
        self._skip_unless_checked()
        with pytest.raises(ControllerError):
            self.make(SIZES, 0).restore(self.make((2, 2), 0).state())

    def test_a_state_with_any_value_missing_or_damaged_is_refused(self) -> None:
        """`restore` checks every value, names the bad one, and leaves the controller unchanged."""
        self._skip_unless_checked()
        source, target = self.make(SIZES, 0), self.make(SIZES, 0)
        run_trials(source, 7)
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

    def _skip_unless_distinct(self) -> None:
        if not self.distinct:
            pytest.skip("this controller may repeat a proposal")

    def _skip_unless_checked(self) -> None:
        if not self.checks_input:
            pytest.skip("this controller does not check its input")
