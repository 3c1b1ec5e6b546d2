"""Children that are stopped early or not trained: what they are compared with, and searches that are killed."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import controllers
from mnas.errors import ConfigurationError, FailureKind
from mnas.reward import RewardSettings, reward
from mnas.search.driver import Search, SilentObserver
from mnas.search.halving import EarlyStopping, Halving, epochs_trained, rung_epochs, stopped_text
from mnas.search.plan import SearchPlan
from mnas.search.replay import replay
from mnas.search.store import TrialStore
from mnas.search.trial import Outcome, Trial
from mnas.training.rungs import Rung, RungResult, rung_results
from search_space import Architecture, SearchSpace, cost, fingerprint, lower
from tests.mnas.search.mortal_store import KilledError, MortalStore

Schedule = Literal["asynchronous", "synchronous"]
SPACE = SearchSpace.load("tiny16")
EPOCHS = 9
HALVING = Halving(rung_epochs(1, 3, EPOCHS), 3, EPOCHS)
PLAN = SearchPlan(
    trials=20, workers=1, target_ms=1.0, reward=RewardSettings(form="hard"), batch_size=5, max_consecutive_failures=20
)


def done(result: Mapping[str, Any]) -> Future[Mapping[str, Any]]:
    future: Future[Mapping[str, Any]] = Future()
    future.set_result(result)
    return future


def accuracy_at(architecture: Architecture, epoch: int) -> float:
    return (int(fingerprint(architecture), 16) % 1000) / 1000 * (0.5 + 0.5 * epoch / EPOCHS)


class Trainer:
    """Trains by a formula: the order of two networks is the same at every epoch."""

    def __init__(self) -> None:
        self.trained: list[Architecture] = []

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        return self.submit_with_rungs(architecture, seed, ())

    def submit_with_rungs(
        self, architecture: Architecture, seed: int, rungs: tuple[Rung, ...]
    ) -> Future[Mapping[str, Any]]:
        self.trained.append(architecture)
        reached: list[dict[str, Any]] = []
        for rung in rungs:
            result = RungResult(rung.epoch, accuracy_at(architecture, rung.epoch), rung.least_accuracy)
            reached.append({"epoch": rung.epoch, "accuracy": result.accuracy, "least_accuracy": rung.least_accuracy})
            if result.is_behind:
                return done({"accuracy": result.accuracy, "rungs": reached, "stopped": True})
        return done({"accuracy": accuracy_at(architecture, EPOCHS), "rungs": reached, "stopped": False})


class Phone:
    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        counted = cost(lower(architecture, image_size=16, channels=1, num_classes=10))
        return done({"latency_ms": counted.multiply_adds / 1e6})


def controller() -> controllers.Controller:
    return controllers.create_controller("regularized_evolution", SPACE.decision_sizes, seed=3)


def search(store: TrialStore, plan: SearchPlan, trainer: Any = None) -> None:
    Search(plan, SPACE, controller(), store, trainer or Trainer(), Phone(), SilentObserver()).run()


def searched(path: Path, plan: SearchPlan, trainer: Any = None) -> list[Trial]:
    store = TrialStore(path, create=True, durable=False)
    try:
        search(store, plan, trainer)
        replay(store, controller())
        return store.trials()
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trials.sqlite"


PLANS = {
    "halving": replace(PLAN, halving=HALVING),
    "latency first": replace(PLAN, highest_accuracy=1.0),
    "both": replace(PLAN, halving=HALVING, highest_accuracy=0.9),
}
plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
schedules = pytest.mark.parametrize("schedule", ["asynchronous", "synchronous"])


@pytest.mark.parametrize(
    ("first", "reduction", "epochs", "rungs"), [(1, 3, 6, (1, 3)), (2, 2, 16, (2, 4, 8)), (1, 4, 2, (1,))]
)
def test_each_rung_has_the_epochs_of_the_one_before_times_the_reduction(
    first: int, reduction: int, epochs: int, rungs: tuple[int, ...]
) -> None:
    assert rung_epochs(first, reduction, epochs) == rungs


def ended(number: int, accuracy: float, latency_ms: float = 1.0) -> tuple[Trial, Outcome]:
    training = {"accuracy": accuracy, "rungs": [{"epoch": 1, "accuracy": accuracy}]}
    latency = {"latency_ms": latency_ms}
    trial = Trial(number, "proposed", (), {}, "", None, training, latency, None, None, None, None, "", None)
    return trial, Outcome(number, accuracy, latency_ms, accuracy / latency_ms)


def told(early: EarlyStopping, results: Sequence[tuple[Trial, Outcome]]) -> None:
    early.tell([trial for trial, _ in results], [outcome for _, outcome in results])


def pending(number: int, latency_ms: float | None = None) -> Trial:
    trial, _ = ended(number, 0.0)
    return replace(trial, training=None, latency=None if latency_ms is None else {"latency_ms": latency_ms})


def by_accuracy() -> EarlyStopping:
    return EarlyStopping(Halving((1,), 3, 2), None, lambda latency: 1.0)


@given(st.lists(st.integers(0, 20), max_size=30))
def test_a_child_goes_on_if_it_is_among_one_of_three(values: list[int]) -> None:
    early = by_accuracy()
    told(early, [ended(number, value / 20) for number, value in enumerate(values)])
    early.ask([100])
    (rung,) = early.rungs(pending(100))
    kept = len(values) // 3
    assert rung.least_accuracy == (sorted(values, reverse=True)[kept - 1] / 20 if kept else None)


def test_what_is_told_after_the_proposal_changes_nothing() -> None:
    early = by_accuracy()
    told(early, [ended(number, 0.5) for number in range(3)])
    early.ask([100])
    told(early, [ended(number, 0.9) for number in range(3, 30)])
    assert early.rungs(pending(100)) == (Rung(1, 0.5),)


def test_with_latencies_first_rewards_are_compared() -> None:
    early = EarlyStopping(Halving((1,), 3, 2), 1.0, lambda latency: 1 / latency["latency_ms"])
    told(early, [ended(number, 0.8, latency_ms=2.0) for number in range(3)])
    early.ask([100])
    assert early.rungs(pending(100, latency_ms=1.0)) == (Rung(1, 0.4),)
    assert early.rungs(pending(100, latency_ms=2.0)) == (Rung(1, 0.8),)


@pytest.mark.parametrize(("latency_ms", "may_train"), [(None, False), (1.9, True), (2.0, True), (2.1, False)])
def test_a_network_is_too_slow_if_no_accuracy_makes_it_the_best(latency_ms: float | None, may_train: bool) -> None:
    early = EarlyStopping(None, 1.0, lambda latency: 1 / latency["latency_ms"])
    told(early, [ended(1, 0.5)])
    early.ask([100])
    assert early.may_train(pending(100, latency_ms)) is may_train


@schedules
@plans
def test_trials_that_are_not_trained_to_the_end_are_stopped_and_never_the_best(
    path: Path, plan: SearchPlan, schedule: Schedule
) -> None:
    trials = searched(path, replace(plan, schedule=schedule))
    states = {trial.state for trial in trials}
    assert states == {"complete", "stopped"}
    store = TrialStore(path)
    best = store.best(20)
    log = [call for call in store.controller_log() if call.rewards]
    store.close()
    assert {trial.state for trial in best} == {"complete"}
    rewards = {number: value for call in log for number, value in zip(call.trial_ids, call.rewards or (), strict=True)}
    for trial in trials:
        assert rewards[trial.id] == (trial.reward or 0.0)
        if trial.repeat_of is None and trial.state == "stopped":
            assert stopped_text(trial)
            architecture = SPACE.decode(trial.decisions)
            if trial.training is None:
                assert (trial.accuracy, trial.reward) == (None, None)
            else:
                assert epochs_trained(trial, EPOCHS) in HALVING.rungs
                assert trial.accuracy == accuracy_at(architecture, epochs_trained(trial, EPOCHS))


def test_no_network_that_could_be_the_best_is_left_out(path: Path) -> None:
    trainer = Trainer()
    trials = searched(path, PLANS["latency first"], trainer)
    best = max(trial.reward for trial in trials if trial.reward is not None)
    for trial in trials:
        if trial.training is None and trial.repeat_of is None:
            assert trial.latency_ms is not None
            assert reward(1.0, trial.latency_ms, PLAN.target_ms, PLAN.reward) < best
    assert len(trainer.trained) == sum(trial.training is not None for trial in trials)


@schedules
@plans
def test_what_a_child_was_compared_with_follows_from_the_log(path: Path, plan: SearchPlan, schedule: Schedule) -> None:
    plan = replace(plan, schedule=schedule)
    searched(path, plan)
    store = TrialStore(path)
    early = EarlyStopping(plan.halving, plan.highest_accuracy, plan.reward_factor)
    for call in store.controller_log():
        trials = [store.trial(number) for number in call.trial_ids]
        if call.rewards is None:
            early.ask(call.trial_ids)
            for trial in trials:
                if trial.repeat_of is None:
                    assert (trial.training is not None) is early.may_train(trial)
                    wanted = [rung.least_accuracy for rung in early.rungs(trial)]
                    reached = [result.least_accuracy for result in rung_results(trial.training or {})]
                    assert reached == wanted[: len(reached)]
        else:
            early.restore([call], store.trial)
    store.close()


def what_matters(trials: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, proposed_at="", finished_at=None) for trial in trials]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("writes", [3, 10, 25])
@schedules
@plans
def test_a_killed_search_ends_as_one_that_was_not(
    tmp_path: Path, plan: SearchPlan, schedule: Schedule, writes: int, after: bool
) -> None:
    plan = replace(plan, schedule=schedule)
    dying = MortalStore(tmp_path / "killed.sqlite", writes, after=after)
    with suppress(KilledError):
        search(dying, plan)
    dying.close()
    killed = searched(tmp_path / "killed.sqlite", plan)
    assert what_matters(killed) == what_matters(searched(tmp_path / "whole.sqlite", plan))


def test_a_trainer_that_cannot_stop_children_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="submit_with_rungs"):
        searched(path, PLANS["halving"], Phone())


@pytest.mark.parametrize("rungs", [3, [{"epoch": "one", "accuracy": 0.5}], [{"epoch": 1, "accuracy": float("nan")}]])
def test_a_trainer_that_returns_no_rungs_fails_its_trial_only(path: Path, rungs: Any) -> None:
    class Odd(Trainer):
        def submit_with_rungs(
            self, architecture: Architecture, seed: int, _: tuple[Rung, ...]
        ) -> Future[Mapping[str, Any]]:
            return done({"accuracy": 0.5, "rungs": rungs})

    trials = searched(path, replace(PLANS["halving"], trials=3), Odd())
    assert [trial.failure and trial.failure.kind for trial in trials] == [FailureKind.INTERNAL] * 3
