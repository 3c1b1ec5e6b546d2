"""The driver on real controllers and a real store; children and phones are small functions behind real executors."""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import controllers
from mnas.errors import FailureKind, TrialError
from mnas.reward import RewardSettings, reward
from mnas.search.driver import NO_WORKERS, OwnPartError, Progress, Search, SearchStoppedError, child_seed
from mnas.search.plan import SearchPlan
from mnas.search.replay import ReplayError, replay
from mnas.search.results import MESSAGE_LENGTH
from mnas.search.store import StoreError, Trial, TrialStore
from search_space import Architecture, SearchSpace, cost, fingerprint, lower
from tests.mnas.search.mortal_store import KilledError, MortalStore

Schedule = Literal["asynchronous", "synchronous"]
SCHEDULES: tuple[Schedule, ...] = ("asynchronous", "synchronous")
SPACE = SearchSpace.load("tiny16")


def accuracy_of(architecture: Architecture) -> float:
    return (int(fingerprint(architecture), 16) % 1000) / 1000


def latency_of(architecture: Architecture) -> float:
    return cost(lower(architecture, image_size=16, channels=1, num_classes=10)).multiply_adds / 1e6


class Bench:
    """A trainer or a latency meter made of a function."""

    def __init__(self, key: str, function: Callable[[Architecture], float], workers: int = 2) -> None:
        self._key = key
        self._function = function
        self._executor = ThreadPoolExecutor(workers)
        self.submitted: list[Architecture] = []

    def submit(self, architecture: Architecture, _seed: int = 0) -> Future[Mapping[str, Any]]:
        self.submitted.append(architecture)
        return self._executor.submit(lambda: {self._key: self._function(architecture)})


class Watcher:
    def __init__(self) -> None:
        self.finished: list[Trial] = []
        self.seen: list[Progress] = []

    def trial_finished(self, trial: Trial) -> None:
        self.finished.append(trial)

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)


class Setup:
    """A search that can be made again and again on one store, as after a kill."""

    def __init__(self, path: Path, *, name: str = "ppo", trials: int = 12, schedule: Schedule = "asynchronous") -> None:
        self.path = path
        self.name = name
        self.plan = SearchPlan(
            trials=trials,
            workers=2,
            target_ms=1.0,
            reward=RewardSettings(),
            schedule=schedule,
            batch_size=4,
            max_consecutive_failures=trials,
        )
        self.trainer = Bench("accuracy", accuracy_of)
        self.latency = Bench("latency_ms", latency_of)
        self.watcher = Watcher()

    def store(self) -> TrialStore:
        return TrialStore(self.path, create=True)

    def controller(self) -> controllers.Controller:
        return controllers.create_controller(self.name, SPACE.decision_sizes, seed=5)

    def search(self, store: TrialStore) -> Search:
        return Search(self.plan, SPACE, self.controller(), store, self.trainer, self.latency, self.watcher)

    def run(self) -> list[Trial]:
        store = self.store()
        try:
            self.search(store).run()
        finally:
            trials = store.trials()
            store.close()
        return trials


@pytest.fixture(params=SCHEDULES)
def setup(tmp_path: Path, request: pytest.FixtureRequest) -> Setup:
    return Setup(tmp_path / "trials.sqlite", schedule=request.param)


@pytest.fixture
def asynchronous(tmp_path: Path) -> Setup:
    return Setup(tmp_path / "trials.sqlite")


def test_every_trial_ends_with_its_reward(setup: Setup) -> None:
    trials = setup.run()
    assert [trial.state for trial in trials] == ["complete"] * 12
    for trial in trials:
        architecture = SPACE.decode(trial.decisions)
        accuracy, latency_ms = accuracy_of(architecture), latency_of(architecture)
        assert trial.reward == reward(accuracy, latency_ms, 1.0, RewardSettings())


def test_the_controllers_calls_replay_to_the_same_state(setup: Setup) -> None:
    setup.run()
    replay(setup.store(), setup.controller())


def test_a_replay_notices_a_changed_result(setup: Setup) -> None:
    setup.run()
    store = setup.store()
    store._connection.execute("UPDATE controller_log SET rewards = replace(rewards, '0.', '0.9') WHERE call = 'tell'")
    with pytest.raises(ReplayError):
        replay(store, setup.controller())


def test_a_finished_search_run_again_does_nothing(setup: Setup) -> None:
    before = setup.run()
    submitted = len(setup.trainer.submitted)
    assert (setup.run(), len(setup.trainer.submitted)) == (before, submitted)


def test_more_trials_can_be_asked_of_a_finished_search(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    before = Setup(path, trials=6).run()
    assert Setup(path, trials=9).run()[:6] == before


def test_synchronous_batches_are_told_whole_and_in_order(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "trials.sqlite", schedule="synchronous", trials=10)
    setup.run()
    calls = [(call.call, call.trial_ids) for call in setup.store().controller_log()]
    batches = [(1, 2, 3, 4), (5, 6, 7, 8), (9, 10)]
    assert calls == [(call, batch) for batch in batches for call in ("ask", "tell")]


def test_asynchronous_search_does_not_wait_for_a_slow_child(asynchronous: Setup) -> None:
    slow: list[str] = []
    released = threading.Event()

    def train(architecture: Architecture) -> float:
        if not slow:
            slow.append(fingerprint(architecture))
            assert released.wait(30)
        elif len(asynchronous.trainer.submitted) >= 12:
            released.set()
        return accuracy_of(architecture)

    asynchronous.trainer = Bench("accuracy", train)
    asynchronous.run()
    assert slow[0] not in [trial.fingerprint for trial in asynchronous.watcher.finished[:5]]


def test_no_more_children_are_out_than_there_are_workers(asynchronous: Setup) -> None:
    asynchronous.run()
    assert max(progress.workers_busy for progress in asynchronous.watcher.seen) <= 2


def failing_always(kind: FailureKind) -> Callable[[Architecture], float]:
    def run(_: Architecture) -> float:
        raise TrialError(kind, "as arranged")

    return run


def search_small_space(
    folder: Path, skip: str, trials: int, latency: Callable[[Architecture], float] = latency_of
) -> Setup:
    """Search a space of two kernels and these skips at random."""
    path = folder / "space.yaml"
    path.write_text(
        "name: two\nimage_size: 16\nstem_filters: 8\nstem_stride: 1\nhead_filters: 16\nblocks:\n"
        f"  - {{op: [mbconv3], kernel: [3, 5], skip: {skip}, filters: [8], layers: [1], stride: 2}}\n"
    )
    space = SearchSpace.load(path)
    setup = Setup(folder / "trials.sqlite", name="random", trials=trials)
    setup.latency = Bench("latency_ms", latency)
    controller = controllers.create_controller("random", space.decision_sizes, seed=0)
    Search(setup.plan, space, controller, setup.store(), setup.trainer, setup.latency, setup.watcher).run()
    return setup


def test_the_same_network_is_trained_once(tmp_path: Path) -> None:
    # Four index tuples make two networks: a skip of one strided layer has no effect.
    setup = search_small_space(tmp_path, "[identity, none]", trials=4)
    store = setup.store()
    assert (len(store.trials()), len(setup.trainer.submitted), len(setup.latency.submitted)) == (4, 2, 2)
    for trial in store.trials():
        if trial.repeat_of is not None:
            source = store.trial(trial.repeat_of)
            assert (trial.accuracy, trial.latency_ms, trial.reward) == (
                source.accuracy,
                source.latency_ms,
                source.reward,
            )


def test_a_used_up_space_ends_the_search(tmp_path: Path) -> None:
    setup = search_small_space(tmp_path, "[none]", trials=50)
    assert [trial.state for trial in setup.store().trials()] == ["complete", "complete"]


class TwoPhones(Bench):
    """A latency meter with a second phone, whose latencies are the square of the first one's."""

    def submit(self, architecture: Architecture, _seed: int = 0) -> Future[Mapping[str, Any]]:
        named_ms = self._function(architecture)
        latency = {"latency_ms": named_ms, "others": {"other": {"latency_ms": named_ms**2}}}
        return self._executor.submit(lambda: latency)


def test_other_phones_are_recorded_and_without_a_target_have_no_say(setup: Setup) -> None:
    setup.latency = TwoPhones("latency_ms", latency_of)
    for trial in setup.run():
        assert trial.accuracy is not None
        assert trial.latency_ms is not None
        assert trial.other_latencies_ms == {"other": trial.latency_ms**2}
        assert trial.reward == reward(trial.accuracy, trial.latency_ms, 1.0, RewardSettings())


def test_with_targets_the_phone_furthest_above_its_own_decides_the_reward(setup: Setup) -> None:
    setup.latency = TwoPhones("latency_ms", latency_of)
    setup.plan = replace(setup.plan, others_target_ms={"other": 1.0})
    trials = setup.run()
    slower = {trial.id: trial.other_latencies_ms["other"] > (trial.latency_ms or 0) for trial in trials}
    for trial in trials:
        assert trial.accuracy is not None
        assert trial.latency_ms is not None
        worst_ms = trial.latency_ms**2 if slower[trial.id] else trial.latency_ms
        assert trial.reward == reward(trial.accuracy, worst_ms, 1.0, RewardSettings())
    assert set(slower.values()) == {False, True}


def test_a_target_of_its_own_is_what_another_phone_is_judged_by(setup: Setup) -> None:
    setup.latency = TwoPhones("latency_ms", latency_of)
    setup.plan = replace(setup.plan, others_target_ms={"other": 1e9})
    for trial in setup.run():
        assert trial.accuracy is not None
        assert trial.latency_ms is not None
        assert trial.reward == reward(trial.accuracy, trial.latency_ms, 1.0, RewardSettings())


def failing(kind: FailureKind, function: Callable[[Architecture], float]) -> Callable[[Architecture], float]:
    """Fail for about a third of all architectures."""

    def run(architecture: Architecture) -> float:
        if int(fingerprint(architecture), 16) % 3 == 0:
            raise TrialError(kind, "as arranged")
        return function(architecture)

    return run


@pytest.mark.parametrize("half", ["training", "latency"])
def test_a_failed_candidate_is_recorded_and_told_zero(setup: Setup, half: str) -> None:
    if half == "training":
        setup.trainer = Bench("accuracy", failing(FailureKind.TRAINING_DIVERGED, accuracy_of))
    else:
        setup.latency = Bench("latency_ms", failing(FailureKind.MODEL_REJECTED, latency_of))
    trials = setup.run()
    failed = [trial for trial in trials if trial.state == "failed"]
    told = {
        trial_id: value
        for call in setup.store().controller_log()
        for trial_id, value in zip(call.trial_ids, call.rewards or (), strict=False)
    }
    assert failed
    assert all(trial.failure is not None and trial.failure.message == "as arranged" for trial in failed)
    assert {told[trial.id] for trial in failed} == {0.0}
    assert len(told) == 12


def test_a_failure_of_the_phone_is_not_told(setup: Setup) -> None:
    setup.latency = Bench("latency_ms", failing(FailureKind.PHONE, latency_of))
    trials = setup.run()
    failed = {trial.id for trial in trials if trial.state == "failed"}
    told = {i for call in setup.store().controller_log() if call.rewards is not None for i in call.trial_ids}
    assert failed
    assert told == {trial.id for trial in trials} - failed


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind is not FailureKind.DATA])
def test_failures_in_a_row_of_any_kind_stop_the_search_with_the_reason(setup: Setup, kind: FailureKind) -> None:
    def broken(_: Architecture) -> float:
        raise TrialError(kind, "as arranged")

    setup.latency = Bench("latency_ms", broken)
    setup.plan = replace(setup.plan, max_consecutive_failures=3)
    with pytest.raises(SearchStoppedError, match=rf"trials in a row failed \(\d x {kind.value}: as arranged\)"):
        setup.run()
    assert 3 <= setup.store().counts()["failed"] < 12


def test_an_image_that_cannot_be_read_stops_the_search_at_once_and_fails_no_trial(setup: Setup) -> None:
    def broken(_: Architecture) -> float:
        raise TrialError(FailureKind.DATA, "cats/1.jpg: cannot be read")

    setup.trainer = Bench("accuracy", broken)
    with pytest.raises(SearchStoppedError, match=r"cats/1\.jpg: cannot be read\. Every child would fail"):
        setup.run()
    assert setup.store().counts()["failed"] == 0
    setup.trainer = Bench("accuracy", accuracy_of)
    assert {trial.state for trial in setup.run()} == {"complete"}


def test_the_reason_of_a_stop_names_every_kind_and_the_last_first(asynchronous: Setup) -> None:
    kinds = [FailureKind.PHONE, FailureKind.CHILD_TIMEOUT, FailureKind.PHONE, FailureKind.NODE_MEMORY]

    def broken(_: Architecture) -> float:
        raise TrialError(kinds[len(asynchronous.trainer.submitted) - 1], "as arranged")

    asynchronous.trainer = Bench("accuracy", broken, workers=1)
    asynchronous.plan = replace(asynchronous.plan, workers=1, max_consecutive_failures=4)
    with pytest.raises(SearchStoppedError, match=r"1 x node_memory: .*; 2 x phone: .*; 1 x child_timeout"):
        asynchronous.run()


def test_a_success_ends_a_row_of_failures(asynchronous: Setup) -> None:
    def every_third(architecture: Architecture) -> float:
        if len(asynchronous.trainer.submitted) % 3:
            raise TrialError(FailureKind.PHONE, "as arranged")
        return accuracy_of(architecture)

    asynchronous.trainer = Bench("accuracy", every_third, workers=1)
    asynchronous.plan = replace(asynchronous.plan, workers=1, max_consecutive_failures=3)
    assert len(asynchronous.run()) == 12


def test_seeds_of_children_differ_and_repeat() -> None:
    seeds = [child_seed(3, trial) for trial in range(1000)]
    assert len(set(seeds)) == 1000
    assert seeds == [child_seed(3, trial) for trial in range(1000)]


class UnexpectedError(Exception):
    """A mistake in a user's own part."""


class Nosy(Watcher):
    """Fails when it is told of the third trial that has ended."""

    def trial_finished(self, trial: Trial) -> None:
        super().trial_finished(trial)
        if len(self.finished) == 3:
            raise UnexpectedError


def test_an_observer_that_fails_ends_the_search_and_loses_nothing(setup: Setup) -> None:
    setup.watcher = Nosy()
    with pytest.raises(UnexpectedError):
        setup.run()
    store = setup.store()
    ended = [trial for trial in store.trials() if trial.state != "proposed"]
    assert {trial.id for trial in setup.watcher.finished} <= {trial.id for trial in ended}
    store.close()
    setup.watcher = Watcher()
    assert [trial for trial in setup.run() if trial in ended] == ended
    replay(setup.store(), setup.controller())


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise UnexpectedError


EXCEPTIONS = {
    "UnexpectedError: a mistake": UnexpectedError("a mistake"),
    "MemoryError": MemoryError(),
    "KeyError: 'accuracy'": KeyError("accuracy"),
    "CancelledError": CancelledError(),
    "StoreError: not that of the run": StoreError("not that of the run"),
    "UnprintableError": UnprintableError(),
    r"FileNotFoundError: \udcff.jpg": FileNotFoundError("\udcff.jpg"),
}


class Raising:
    """A trainer or a latency meter that fails for about a third of all architectures, in its future or before it."""

    def __init__(self, error: BaseException, working: Bench, *, at_once: bool) -> None:
        self._error, self._working, self._at_once = error, working, at_once

    def submit(self, architecture: Architecture, _seed: int = 0) -> Future[Mapping[str, Any]]:
        if int(fingerprint(architecture), 16) % 3:
            return self._working.submit(architecture)
        if self._at_once:
            raise self._error
        future: Future[Mapping[str, Any]] = Future()
        future.set_exception(self._error)
        return future


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("half", ["trainer", "latency"])
@pytest.mark.parametrize("text", EXCEPTIONS)
def test_an_exception_of_trainer_or_meter_ends_its_trial_only(
    setup: Setup, half: str, text: str, at_once: bool
) -> None:
    setattr(setup, half, Raising(EXCEPTIONS[text], getattr(setup, half), at_once=at_once))
    trials = setup.run()
    failures = [trial.failure for trial in trials if trial.failure is not None]
    assert 0 < len(failures) < len(trials)
    assert {failure.kind for failure in failures} == {FailureKind.INTERNAL}
    assert all(text in failure.message for failure in failures)
    replay(setup.store(), setup.controller())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_ends_the_search_which_goes_on_later(setup: Setup, error: type[BaseException]) -> None:
    working = setup.latency
    meter: Any = Raising(error(), working, at_once=True)
    setup.latency = meter
    with pytest.raises(error):
        setup.run()
    setup.latency = working
    assert [trial.state for trial in setup.run()] == ["complete"] * 12


@pytest.mark.parametrize("error", [UnexpectedError("x" * 10**6), TrialError(FailureKind.PHONE, "x" * 10**6)])
def test_the_text_of_a_failure_is_bounded(asynchronous: Setup, error: Exception) -> None:
    meter: Any = Raising(error, asynchronous.latency, at_once=False)
    asynchronous.latency = meter
    failures = [trial.failure for trial in asynchronous.run() if trial.failure is not None]
    assert max(len(failure.message) for failure in failures) <= MESSAGE_LENGTH


def test_a_latency_without_a_finite_reward_ends_its_trial_only(setup: Setup) -> None:
    setup.plan = replace(setup.plan, target_ms=1e300, reward=RewardSettings(alpha=-1.0))
    setup.latency = Bench("latency_ms", lambda _: 5e-324)
    with pytest.raises(SearchStoppedError, match="internal"):
        setup.run()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"accuracy": 1.7}, "must be from 0 to 1"),
        ({"accuracy": float("nan")}, "finite number"),
        ({"top1": 0.5}, "the number `accuracy` is needed"),
        (0.5, "the number `accuracy` is needed"),
        ({"accuracy": 0.5, "more": object()}, "JSON cannot hold"),
    ],
)
def test_a_trainer_that_returns_no_result_is_told_what_is_needed(setup: Setup, result: Any, message: str) -> None:
    trainer: Any = Constant(result)
    setup.trainer = trainer
    with pytest.raises(SearchStoppedError, match=f"internal: .*{message}"):
        setup.run()
    assert all(trial.training is None for trial in setup.store().trials())


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"latency_ms": 0.0}, "must be above 0"),
        ({"latency_ms": "fast"}, "the number `latency_ms` is needed"),
        ({"latency_ms": 1.0}, "no `others` for 'other'"),
        ({"latency_ms": 1.0, "others": {"other": {}}}, "the number `latency_ms` is needed"),
    ],
)
def test_a_latency_meter_that_returns_no_latency_is_told_what_is_needed(
    setup: Setup, result: Any, message: str
) -> None:
    meter: Any = Constant(result)
    setup.latency = meter
    setup.plan = replace(setup.plan, others_target_ms={"other": 1.0})
    with pytest.raises(SearchStoppedError, match=f"internal: .*{message}"):
        setup.run()


class Constant:
    """A trainer or a latency meter that always returns the same."""

    def __init__(self, result: object) -> None:
        self._result = result

    def submit(self, _architecture: Architecture, _seed: int = 0) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(self._result)
        return future


def test_numpys_numbers_are_stored(setup: Setup) -> None:
    trainer: Any = Constant({"accuracy": np.float32(0.5)})
    setup.trainer = trainer
    assert {trial.accuracy for trial in setup.run()} == {0.5}


class OwnController:
    """Proposes what it is given, and remembers nothing."""

    def __init__(self, proposals: list[Any]) -> None:
        self.proposals = proposals

    def ask(self, _count: int) -> list[Any]:
        return self.proposals

    def tell(self, decisions: Any, rewards: Any) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"none": 0}

    def restore(self, state: Any) -> None:
        pass


FIRST = (0,) * len(SPACE.decision_sizes)


def search_with(setup: Setup, controller: OwnController) -> list[Trial]:
    store = setup.store()
    Search(setup.plan, SPACE, controller, store, setup.trainer, setup.latency, setup.watcher).run()
    return store.trials()


def test_a_controllers_numpy_integers_are_stored(asynchronous: Setup) -> None:
    asynchronous.plan = replace(asynchronous.plan, trials=2)
    trials = search_with(asynchronous, OwnController([np.array(FIRST), np.array(FIRST)]))
    assert [trial.decisions for trial in trials] == [FIRST, FIRST]


@pytest.mark.parametrize(
    ("proposals", "message"),
    [
        ([(0,)], "not in the space"),
        ([(99, *FIRST[1:])], "not in the space"),
        ([(0.5, *FIRST[1:])], "not in the space"),
        ([FIRST] * 9, "was asked for"),
    ],
)
def test_a_proposal_outside_the_space_is_refused(setup: Setup, proposals: list[Any], message: str) -> None:
    with pytest.raises(OwnPartError, match=message):
        search_with(setup, OwnController(proposals))


def test_trials_lost_to_the_machine_are_given_back_once_by_each_resume(setup: Setup) -> None:
    working = setup.latency
    setup.latency = Bench("latency_ms", failing(FailureKind.PHONE, latency_of))
    lost = [trial.id for trial in setup.run() if trial.state == "failed"]
    setup.watcher = Watcher()
    assert [trial.id for trial in setup.run() if trial.state == "failed"] == lost
    assert sorted(trial.id for trial in setup.watcher.finished) == lost
    assert {progress.given_back for progress in setup.watcher.seen} == {len(lost)}
    trained = len(setup.trainer.submitted)
    setup.latency = working
    assert [trial.state for trial in setup.run()] == ["complete"] * 12
    assert len(setup.trainer.submitted) == trained  # the halves that had ended are kept
    assert_told_once(setup, range(1, 13))
    replay(setup.store(), setup.controller())


def test_a_candidates_failure_is_not_given_back(setup: Setup) -> None:
    setup.trainer = Bench("accuracy", failing(FailureKind.OUT_OF_MEMORY, accuracy_of))
    before = setup.run()
    setup.trainer = Bench("accuracy", accuracy_of)
    assert setup.run() == before


def test_a_synchronous_batch_with_a_lost_trial_is_resumed_as_if_nothing_was_lost(tmp_path: Path) -> None:
    whole = Setup(tmp_path / "whole.sqlite", schedule="synchronous").run()
    setup = Setup(tmp_path / "parts.sqlite", schedule="synchronous")
    setup.plan = replace(setup.plan, max_consecutive_failures=1)

    def gone(_: Architecture) -> float:
        raise TrialError(FailureKind.WORKER_DIED, "as arranged")

    setup.trainer = Bench("accuracy", gone)
    with pytest.raises(SearchStoppedError):
        setup.run()
    setup.trainer = Bench("accuracy", accuracy_of)
    assert [(trial.decisions, trial.reward) for trial in setup.run()] == [
        (trial.decisions, trial.reward) for trial in whole
    ]


def test_repeats_of_a_lost_trial_are_given_back_with_it(tmp_path: Path) -> None:
    setup = search_small_space(tmp_path, "[identity, none]", trials=4, latency=failing_always(FailureKind.PHONE))
    assert {trial.state for trial in setup.store().trials()} == {"failed"}
    setup = search_small_space(tmp_path, "[identity, none]", trials=4)
    trials = setup.store().trials()
    assert {trial.state for trial in trials} == {"complete"}
    assert_told_once(setup, [trial.id for trial in trials])


def told_ids(setup: Setup) -> list[int]:
    return [i for call in setup.store().controller_log() if call.rewards is not None for i in call.trial_ids]


def assert_told_once(setup: Setup, trial_ids: Iterable[int]) -> None:
    assert sorted(told_ids(setup)) == list(trial_ids)


class SlowPhone:
    """A latency meter and observer: it answers when no child trains and none was started since; `most` have waited."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Future[Mapping[str, Any]], Architecture]] = []
        self.most = 0

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        future: Future[Mapping[str, Any]] = Future()
        self._waiting.append((future, architecture))
        self.most = max(self.most, len(self._waiting))
        return future

    def trial_finished(self, trial: Trial) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        if self._waiting and progress.workers_busy == 0:
            future, architecture = self._waiting.pop(0)
            future.set_result({"latency_ms": latency_of(architecture)})


@pytest.mark.parametrize(("max_pending", "bound"), [("auto", 8), (1, 1), (3, 3), (5, 5)])
def test_no_more_trials_wait_for_a_latency_than_the_bound(
    asynchronous: Setup, max_pending: int | Literal["auto"], bound: int
) -> None:
    phone: Any = SlowPhone()
    asynchronous.latency = asynchronous.watcher = phone
    asynchronous.plan = replace(asynchronous.plan, max_pending=max_pending)
    assert [trial.state for trial in asynchronous.run()] == ["complete"] * 12
    assert phone.most == bound


@pytest.mark.parametrize("trained", [False, True])
def test_a_resumed_search_starts_no_more_trials_than_the_bound(setup: Setup, trained: bool) -> None:
    lost = failing_always(FailureKind.PHONE)
    setup.latency = Bench("latency_ms", lost)
    if not trained:
        setup.trainer = Bench("accuracy", lost)
    setup.plan = replace(setup.plan, max_consecutive_failures=13)
    setup.run()
    setup.trainer = Bench("accuracy", accuracy_of)
    phone: Any = SlowPhone()
    setup.latency = setup.watcher = phone
    setup.plan = replace(setup.plan, max_pending=3)
    assert [trial.state for trial in setup.run()] == ["complete"] * 12
    assert phone.most == 3
    assert_told_once(setup, range(1, 13))


End = Literal["well", "candidate", "machine", "mistake", "exit"]
ENDS: tuple[End, ...] = ("well", "candidate", "machine", "mistake", "exit")


class Moody(Bench):
    """A trainer or a latency meter whose jobs end as arranged, and well after that."""

    def __init__(self, key: str, function: Callable[[Architecture], float], ends: list[End]) -> None:
        super().__init__(key, lambda architecture: self._end(function(architecture)))
        self._ends = iter(ends)
        self._lock = threading.Lock()

    def _end(self, value: float) -> float:
        with self._lock:
            end = next(self._ends, "well")
        if end == "candidate":
            raise TrialError(FailureKind.CHILD_TIMEOUT, "as arranged")
        if end == "machine":
            raise TrialError(FailureKind.NODE_MEMORY, "as arranged")
        if end == "mistake":
            raise UnexpectedError
        if end == "exit":
            raise SystemExit
        return value


@example(["well"] * 11 + ["candidate"], [], 1, "synchronous")
@example(["candidate"] * 12, ["machine"] * 12, 4, "synchronous")
@settings(max_examples=60, deadline=None)
@given(
    training=st.lists(st.sampled_from(ENDS), max_size=30),
    latency=st.lists(st.sampled_from(ENDS), max_size=30),
    consecutive=st.integers(1, 5),
    schedule=st.sampled_from(SCHEDULES),
)
def test_whatever_fails_every_trial_ends_and_is_told_once(
    training: list[End], latency: list[End], consecutive: int, schedule: Schedule
) -> None:
    with TemporaryDirectory() as folder:
        setup = Setup(Path(folder) / "trials.sqlite", name="regularized_evolution", schedule=schedule)
        setup.plan = replace(setup.plan, max_consecutive_failures=consecutive)
        setup.trainer = Moody("accuracy", accuracy_of, training)
        setup.latency = Moody("latency_ms", latency_of, latency)
        final: list[Trial] = []
        for _ in range(1 + len(training) + len(latency)):
            with suppress(SearchStoppedError, SystemExit):
                setup.run()
            store = setup.store()
            trials = store.trials()
            assert [trial for trial in trials if trial in final] == final
            final = [trial for trial in trials if is_final(trial)]
            told = told_ids(setup)
            assert len(told) == len(set(told))
            assert set(told) <= {trial.id for trial in final}
            if len(trials) == 12 and store.unfinished() == 0:
                break
        assert [trial.id for trial in final] == list(range(1, 13))
        assert_told_once(setup, range(1, 13))
        replay(setup.store(), setup.controller())


def is_final(trial: Trial) -> bool:
    return trial.state == "complete" or (trial.failure is not None and trial.failure.kind.is_final)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("writes", range(1, 40, 5))
def test_killed_at_any_write_the_search_goes_on(setup: Setup, writes: int, after: bool) -> None:
    dying = MortalStore(setup.path, writes, after=after)
    with suppress(KilledError):
        setup.search(dying).run()
    ended_before = [trial for trial in dying.trials() if trial.state != "proposed"]
    dying.close()
    trials = setup.run()
    assert [trial.id for trial in trials] == list(range(1, 13))
    assert all(trial.state == "complete" for trial in trials)
    assert [trial for trial in trials if trial in ended_before] == ended_before
    replay(setup.store(), setup.controller())


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("writes", range(1, 14, 2))
def test_killed_while_lost_trials_are_tried_again_the_search_goes_on(setup: Setup, writes: int, after: bool) -> None:
    working = setup.latency
    setup.latency = Bench("latency_ms", failing(FailureKind.PHONE, latency_of))
    complete = [trial for trial in setup.run() if trial.state == "complete"]
    setup.latency = working
    dying = MortalStore(setup.path, writes, after=after)
    with suppress(KilledError):
        setup.search(dying).run()
    dying.close()
    trials = setup.run()
    assert all(trial.state == "complete" for trial in trials)
    assert [trial for trial in trials if trial in complete] == complete
    assert_told_once(setup, range(1, 13))
    replay(setup.store(), setup.controller())


def test_the_children_in_training_follow_the_workers_and_the_calls_replay(
    asynchronous: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnas.search.driver.POLL_S", 0.001)
    numbers = cycle((0, 1, 3))
    asynchronous.trainer = Bench("accuracy", accuracy_of, workers=8)
    store = asynchronous.store()
    Search(
        asynchronous.plan,
        SPACE,
        asynchronous.controller(),
        store,
        asynchronous.trainer,
        asynchronous.latency,
        asynchronous.watcher,
        workers=lambda: next(numbers),
    ).run()
    assert store.counts()["complete"] == 12
    assert {progress.workers for progress in asynchronous.watcher.seen} <= {0, 1, 3}
    assert NO_WORKERS in {progress.notice for progress in asynchronous.watcher.seen}
    replay(store, asynchronous.controller())
