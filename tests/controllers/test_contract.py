"""Every strategy passes the contract, and what it does not cover: presets, other strategies' states, messages."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from controllers import Controller, ControllerError, StateValue, create_controller, state_to_bytes
from controllers.contract import REFUSED_RESULTS, SIZES, ControllerContract
from controllers.random_search import RandomHyperparameters, RandomSearch

SMALL_POLICY = {"batch_size": 4, "hidden_units": 6, "embedding_units": 3}
MEMBERS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "local_search-first": ("local_search", {}),
    "local_search-best": ("local_search", {"improvement": "best"}),
    "regularized_evolution": ("regularized_evolution", {"population_size": 4, "sample_size": 2}),
    "reinforce": ("reinforce", SMALL_POLICY),
    "ppo-tuned": ("ppo", {"preset": "tuned", **SMALL_POLICY}),
    "ppo-paper": ("ppo", {"preset": "paper", **SMALL_POLICY}),
}


def make(member: str, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Controller:
    name, hyperparameters = MEMBERS[member]
    return create_controller(name, sizes, seed=seed, **hyperparameters)


class MemberContract(ControllerContract):
    member: ClassVar[str]

    def make(self, decision_sizes: tuple[int, ...], seed: int) -> Controller:
        return make(self.member, decision_sizes, seed)


class TestRandom(MemberContract):
    member = "random"


class TestLocalSearchFirst(MemberContract):
    member = "local_search-first"


class TestLocalSearchBest(MemberContract):
    member = "local_search-best"


class TestRegularizedEvolution(MemberContract):
    member = "regularized_evolution"


class TestReinforce(MemberContract):
    member = "reinforce"


class TestPpoTuned(MemberContract):
    member = "ppo-tuned"


class TestPpoPaper(MemberContract):
    member = "ppo-paper"
    distinct = False


def test_every_member_passes_the_contract() -> None:
    assert {contract.member for contract in MemberContract.__subclasses__()} == MEMBERS.keys()


def test_the_paper_preset_may_repeat_a_proposal() -> None:
    assert max(Counter(make("ppo-paper", (2, 2)).ask(20)).values()) > 1


MESSAGES: Mapping[str, str] = {
    "nan": "nan",
    "infinity": "inf",
    "numpy nan": "nan",
    "overflowing integer": "finite",
    "text": "finite",
    "nothing": "finite",
    "boolean": "finite",
    "too short": "4 indices.*5 decisions",
    "too long": "6 indices.*5 decisions",
    "index too high": "decision 2.*from 0 to 1",
    "index negative": "decision 3.*from 0 to 3",
    "index not integer": "decision 3",
    "reward missing": "1 proposals and 0 rewards",
    "second of two": "nan",
}


@pytest.mark.parametrize("case", REFUSED_RESULTS)
def test_a_refused_result_is_named_with_the_rule(case: str) -> None:
    proposals, rewards = REFUSED_RESULTS[case]
    with pytest.raises(ControllerError, match=MESSAGES[case]):
        make("random").tell(proposals, rewards)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_state_of_other_decisions_is_refused_with_both_sizes(member: str) -> None:
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


class Unseeded(ControllerContract):
    """A controller that is given another seed each time."""

    def __init__(self) -> None:
        self.seeds = itertools.count()

    def make(self, decision_sizes: tuple[int, ...], seed: int) -> Controller:
        return create_controller("random", decision_sizes, seed=next(self.seeds))


class Forgetful(RandomSearch):
    def restore(self, state: dict[str, StateValue]) -> None:
        pass


class ForgetfulContract(ControllerContract):
    def make(self, decision_sizes: tuple[int, ...], seed: int) -> Controller:
        return Forgetful(decision_sizes, seed, RandomHyperparameters())


def test_the_contract_finds_a_controller_that_does_not_repeat_itself() -> None:
    with pytest.raises(AssertionError):
        Unseeded().test_equal_seeds_give_equal_proposals()


def test_the_contract_finds_a_controller_that_forgets() -> None:
    with pytest.raises(AssertionError):
        ForgetfulContract().test_a_restored_controller_goes_on_exactly()


def test_a_controller_without_checks_passes_the_rest() -> None:
    class Unchecked(MemberContract):
        member = "random"
        checks_input = False

    with pytest.raises(pytest.skip.Exception):
        Unchecked().test_a_state_of_other_decisions_is_refused()
