"""The training of finalists on a real store; children and phones are small functions behind real executors."""

import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnas.errors import Failure, FailureKind, TrialError
from mnas.experiment import FinalistSettings
from mnas.reward import RewardSettings
from mnas.search.contest import Contest
from mnas.search.driver import Progress, SearchStoppedError, SilentObserver, child_seed
from mnas.search.finals import Finals, contest_of, has_finals_to_run
from mnas.search.plan import SearchPlan
from mnas.search.requests import Budget, Requests
from mnas.search.schema import StoreError
from mnas.search.store import TrialStore
from mnas.search.trial import FinalistTraining, Outcome, Proposal, Trial
from search_space import Architecture, SearchSpace, architecture_to_dict, fingerprint
from tests.mnas.search.mortal_store import KilledError, MortalStore

SPACE = SearchSpace.load("tiny16")
TRIALS = 6
SETTINGS = FinalistSettings(count=3, confidence=0.999999, extra_trainings=9)
PLAN = SearchPlan(
    trials=TRIALS, workers=2, target_ms=1.0, reward=RewardSettings(), schedule="synchronous", batch_size=2, seed=4
)


def accuracy_of(architecture: Architecture, seed: int) -> float:
    """Return an accuracy with noise that the seed decides."""
    return 0.5 + (int(fingerprint(architecture), 16) % 100) / 1000 + (seed * 7919 % 97) / 1000


class Trainer:
    """A trainer made of a function of the network and the seed, which keeps what was submitted."""

    def __init__(self, function: Callable[[Architecture, int], float] = accuracy_of) -> None:
        self._function = function
        self._executor = ThreadPoolExecutor(2)
        self.seeds: list[int] = []

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        self.seeds.append(seed)
        return self._executor.submit(lambda: {"accuracy": self._function(architecture, seed)})


class Meter:
    """A latency meter that counts what it times."""

    def __init__(self, failure: FailureKind | None = None) -> None:
        self._failure = failure
        self.measured = 0

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        self.measured += 1
        future: Future[Mapping[str, Any]] = Future()
        if self._failure is None:
            future.set_result({"latency_ms": 1.0})
        else:
            future.set_exception(TrialError(self._failure, "as arranged"))
        return future


def fill(store: TrialStore) -> None:
    """Store a search of `TRIALS` trials; the later ones have the higher reward."""
    generator = np.random.default_rng(0)
    proposals = []
    for number in range(1, TRIALS + 1):
        decisions = SPACE.sample(generator)
        architecture = SPACE.decode(decisions)
        key = fingerprint(architecture)
        proposals.append(Proposal(number, tuple(decisions), architecture_to_dict(architecture), key))
    store.propose(TRIALS, proposals, {})
    for number in range(1, TRIALS + 1):
        store.record_training(number, {"accuracy": number / 10})
        store.record_latency(number, {"latency_ms": 1.0})
    store.finish([Outcome(n, accuracy=n / 10, latency_ms=1.0, reward=n / 10) for n in range(1, TRIALS + 1)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(TrialStore(tmp_path / "trials.sqlite", create=True)) as store:
        fill(store)
    return tmp_path / "trials.sqlite"


def run_finals(
    path: Path,
    *,
    plan: SearchPlan = PLAN,
    settings: FinalistSettings = SETTINGS,
    trainer: Trainer | None = None,
    meter: Meter | None = None,
) -> list[FinalistTraining]:
    with closing(TrialStore(path, create=True)) as store:
        Finals(plan, settings, store, trainer or Trainer(), meter or Meter(), SilentObserver()).run()
        return store.finalist_trainings()


def without_times(trainings: list[FinalistTraining]) -> list[FinalistTraining]:
    return [replace(one, proposed_at="", finished_at=None) for one in trainings]


def test_each_finalist_is_trained_once_first_then_until_the_budget_is_used(path: Path) -> None:
    trainings = run_finals(path)
    assert [one.trial for one in trainings[:3]] == [6, 5, 4]
    assert len(trainings) == SETTINGS.extra_trainings
    assert {one.state for one in trainings} == {"complete"}


def test_a_confident_leader_ends_it_early(path: Path) -> None:
    def clear(architecture: Architecture, seed: int) -> float:
        best = clear_best[0] == fingerprint(architecture)
        return (0.9 if best else 0.1) + seed % 7 / 10_000

    with closing(TrialStore(path)) as store:
        clear_best = [store.trial(5).fingerprint]
    settings = FinalistSettings(count=3, confidence=0.95, extra_trainings=200)
    trainings = run_finals(path, settings=settings, trainer=Trainer(clear))
    with closing(TrialStore(path)) as store:
        winner = contest_of(store, settings).standings()[0]
    assert len(trainings) < 100
    assert (winner.trial.id, winner.standing.probability_best >= 0.95) == (5, True)


def test_seeds_are_fresh_and_each_training_is_timed(path: Path) -> None:
    trainer, meter = Trainer(), Meter()
    run_finals(path, trainer=trainer, meter=meter)
    assert len(set(trainer.seeds)) == len(trainer.seeds) == meter.measured == SETTINGS.extra_trainings
    assert set(trainer.seeds).isdisjoint(child_seed(PLAN.seed, number) for number in range(1, TRIALS + 1))


def test_the_trials_and_the_log_of_the_controller_stay_as_they_are(path: Path) -> None:
    with closing(TrialStore(path)) as store:
        before = store.trials(), store.controller_log(), store.counts()
    run_finals(path)
    with closing(TrialStore(path)) as store:
        assert (store.trials(), store.controller_log(), store.counts()) == before


def test_what_is_over_has_nothing_to_run_until_the_budget_is_raised(path: Path) -> None:
    run_finals(path)
    larger = FinalistSettings(count=3, confidence=SETTINGS.confidence, extra_trainings=12)
    with closing(TrialStore(path)) as store:
        assert (has_finals_to_run(store, SETTINGS), has_finals_to_run(store, larger)) == (False, True)
    trainer = Trainer()
    run_finals(path, settings=larger, trainer=trainer)
    assert len(trainer.seeds) == 3


def test_a_search_without_finalists_has_none_to_run(path: Path) -> None:
    with closing(TrialStore(path)) as store:
        assert not has_finals_to_run(store, None)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("writes", range(1, 44, 3))
def test_killed_at_any_write_it_decides_as_if_it_was_not(path: Path, writes: int, after: bool) -> None:
    whole = path.with_name("whole.sqlite")
    with closing(TrialStore(path)) as store:
        store.copy_to(whole)
    expected = without_times(run_finals(whole))
    with closing(MortalStore(path, writes, after=after)) as dying:
        with suppress(KilledError):
            Finals(PLAN, SETTINGS, dying, Trainer(), Meter(), SilentObserver()).run()
        ended_before = [one for one in dying.finalist_trainings() if one.state != "proposed"]
    trainings = run_finals(path)
    assert without_times(trainings) == expected
    assert [one for one in trainings if one in ended_before] == ended_before


def test_a_recorded_half_is_not_done_again(path: Path) -> None:
    with closing(TrialStore(path, create=True)) as store:
        store.write(
            "INSERT INTO finalist_trainings (id, trial, seed, state, training, proposed_at) VALUES "
            "(1, 6, 77, 'proposed', '{\"accuracy\": 0.25}', '2026-01-01T00:00:00+00:00')"
        )
    trainer = Trainer()
    trainings = run_finals(path, trainer=trainer)
    assert trainings[0].accuracy == 0.25
    assert 77 not in trainer.seeds


def test_asynchronous_finals_keep_to_the_workers_and_the_budget(path: Path) -> None:
    class Watcher(SilentObserver):
        busy = 0

        def progress(self, progress: Progress) -> None:
            self.busy = max(self.busy, progress.workers_busy, progress.pending)

    watcher = Watcher()
    with closing(TrialStore(path, create=True)) as store:
        plan = replace(PLAN, schedule="asynchronous")
        Finals(plan, SETTINGS, store, Trainer(), Meter(), watcher).run()
        assert (len(store.finalist_trainings()), watcher.busy) == (SETTINGS.extra_trainings, PLAN.workers)


def test_a_finalist_at_fault_is_out_and_its_failure_uses_the_budget(path: Path) -> None:
    with closing(TrialStore(path)) as store:
        guilty = store.trial(6).fingerprint

    def diverge(architecture: Architecture, seed: int) -> float:
        if fingerprint(architecture) == guilty:
            raise TrialError(FailureKind.TRAINING_DIVERGED, "as arranged")
        return accuracy_of(architecture, seed)

    trainings = run_finals(path, trainer=Trainer(diverge))
    assert [one.state for one in trainings if one.trial == 6] == ["failed"]
    assert len(trainings) == SETTINGS.extra_trainings
    with closing(TrialStore(path)) as store:
        assert {one.trial.id for one in contest_of(store, SETTINGS).standings()} == {4, 5}


def test_failures_in_a_row_stop_it_and_are_tried_again_with_what_was_kept(path: Path) -> None:
    plan = replace(PLAN, max_consecutive_failures=2)
    with pytest.raises(SearchStoppedError, match=r"trainings of finalists in a row failed \(2 x phone: as arranged\)"):
        run_finals(path, plan=plan, meter=Meter(FailureKind.PHONE))
    trainer = Trainer()
    trainings = run_finals(path, plan=plan, trainer=trainer)
    assert ({one.state for one in trainings}, len(trainings)) == ({"complete"}, SETTINGS.extra_trainings)
    assert len(trainer.seeds) == SETTINGS.extra_trainings - 2


def test_an_image_that_cannot_be_read_stops_it_and_fails_no_training(path: Path) -> None:
    def broken(architecture: Architecture, seed: int) -> float:
        raise TrialError(FailureKind.DATA, "cats/1.jpg: cannot be read")

    with pytest.raises(SearchStoppedError, match=r"cats/1\.jpg: cannot be read\. Every child would fail"):
        run_finals(path, trainer=Trainer(broken))
    with closing(TrialStore(path)) as store:
        assert {one.state for one in store.finalist_trainings()} == {"proposed"}


def test_a_record_that_json_cannot_hold_fails_its_training_only(path: Path) -> None:
    class Odd(Meter):
        def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
            future = super().submit(architecture)
            if self.measured == 1:
                future = Future()
                future.set_result({"latency_ms": 1.0, "odd": object()})
            return future

    states = [one.state for one in run_finals(path, meter=Odd())]
    assert states.count("failed") == 1
    assert len(states) == SETTINGS.extra_trainings


@pytest.mark.parametrize(
    ("requests", "budget"), [(Requests(stop="drain"), Budget()), (Requests(), Budget(hours=1e-12))]
)
def test_a_stop_or_a_used_budget_starts_nothing(path: Path, requests: Requests, budget: Budget) -> None:
    class Control:
        def requests(self) -> Requests:
            return requests

    with closing(TrialStore(path, create=True)) as store:
        session, _, _ = store.begin_session()
        store.keep_session(session, 60.0, 60.0)
        plan = replace(PLAN, budget=budget)
        Finals(plan, SETTINGS, store, Trainer(), Meter(), SilentObserver(), control=Control()).run()
        assert store.finalist_trainings() == []


def test_a_file_without_the_table_is_read(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE finalist_trainings")
    with closing(TrialStore(path)) as store:
        assert store.finalist_trainings() == []


@pytest.mark.parametrize(("column", "value"), [("reward", None), ("seed", "'x'"), ("training", "'{'")])
def test_a_row_that_mnas_did_not_write_is_refused(path: Path, column: str, value: str | None) -> None:
    run_finals(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE finalist_trainings SET {column} = {value or 'NULL'} WHERE id = 2")
    with closing(TrialStore(path)) as store, pytest.raises(StoreError, match="training 2 of a finalist"):
        store.finalist_trainings()


def finalist(number: int) -> Trial:
    return Trial(number, "complete", (), {}, str(number), None, None, None, 0.5, 1.0, 0.5, None, "", "")


def ended(number: int, trial: int, reward: float | FailureKind) -> FinalistTraining:
    if isinstance(reward, FailureKind):
        failure = Failure(reward, "")
        return FinalistTraining(number, trial, 0, "failed", None, None, None, None, None, failure, "", "")
    return FinalistTraining(number, trial, 0, "complete", None, None, reward, 1.0, reward, None, "", "")


def test_a_failure_that_is_no_networks_fault_leaves_its_finalist_in() -> None:
    contest = Contest([finalist(1), finalist(2)], [ended(1, 1, FailureKind.PHONE), ended(2, 2, 0.5)], SETTINGS)
    assert (contest.used, [trial.id for trial in contest.next_trainings(1)]) == (2, [1])


def test_no_standings_before_each_has_a_reward() -> None:
    contest = Contest([finalist(1), finalist(2)], [ended(1, 1, 0.5)], SETTINGS)
    assert (contest.is_decided, contest.standings()) == (False, [])


def test_without_a_reward_nobody_is_trained_twice() -> None:
    assert len(Contest([finalist(1), finalist(2)], [], SETTINGS).next_trainings(8)) == 2


def test_if_all_are_out_it_is_over_without_a_winner() -> None:
    out = [ended(1, 1, FailureKind.TRAINING_DIVERGED), ended(2, 2, FailureKind.OUT_OF_MEMORY)]
    contest = Contest([finalist(1), finalist(2)], out, SETTINGS)
    assert (contest.is_over, contest.standings()) == (True, [])
