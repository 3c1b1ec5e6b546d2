"""The search driver: it asks the controller, has children trained and timed, and tells the controller the rewards.

It knows neither Ray nor phones: trainer and latency meter return futures, so that the scheduling can be tested with
plain executors. Everything learnt is committed to the store before the next step (see `mnas.search.store`).
"""

from __future__ import annotations

import json
import math
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from operator import index as as_integer
from typing import Any, Literal, Protocol

from controllers import Controller, state_from_bytes, state_to_bytes
from mnas.errors import FAILED_CANDIDATE_REWARD, Error, Failure, FailureKind, TrialError
from mnas.reward import RewardSettings, reward
from mnas.search.store import Outcome, Proposal, Told, Trial, TrialStore
from search_space import Architecture, SearchSpace, SpaceError, architecture_to_dict, fingerprint

Half = Literal["training", "latency"]
POLL_S = 0.5
# So many children may be ahead of a phone that rests, say; then the workers wait for it.
AUTO_PENDING_PER_WORKER = 4
# Characters that are kept of the text of a failure.
MESSAGE_LENGTH = 2000


class ChildTrainer(Protocol):
    """Trains children.

    The result of a future is a mapping of plain data with at least `accuracy`, from 0 to 1 on the reward set. All of it
    is stored as JSON. A future that raises TrialError makes the trial a failed one of that kind. Any other exception,
    of `submit` too, and any other result make it a failed one of kind `internal`; the search goes on.
    """

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        """Queue one child; `seed` decides its initial weights and the order of its images."""


class LatencyMeter(Protocol):
    """Times architectures.

    The result of a future is a mapping of plain data with at least `latency_ms`, in milliseconds on the phone that the
    experiment names. If the experiment names further phones, `others` holds such a mapping for each of them by name.
    All of it is stored as JSON. Errors are as those of `ChildTrainer`.
    """

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """Queue one measurement."""


@dataclass(frozen=True)
class SearchPlan:
    """What a search does: how many trials, how they are scheduled and how they are rewarded.

    Attributes:
        trials: Proposals in all.
        workers: Children that train at a time.
        target_ms: The target latency on the phone that the experiment names, in milliseconds.
        reward: The exponents of the reward.
        others_target_ms: The target latencies of further phones by name. The phone with the largest LAT / T of all
            decides the reward.
        schedule: `synchronous` proposes `batch_size` children, waits for all and tells them in order of their numbers,
            as the paper does. `asynchronous` proposes whenever a worker is free.
        batch_size: Children of a synchronous batch.
        seed: The seed that the seeds of the children follow from.
        max_pending: Trials that may be pending at a time, those that wait for a latency included; `auto` is four for
            each worker. A synchronous batch is pending whole.
        max_consecutive_failures: The search stops after this many failures in a row, whatever failed. Repeats of an
            earlier network do not count.
    """

    trials: int
    workers: int
    target_ms: float
    reward: RewardSettings
    others_target_ms: Mapping[str, float] = field(default_factory=dict)
    schedule: Literal["asynchronous", "synchronous"] = "asynchronous"
    batch_size: int = 1
    seed: int = 0
    max_pending: int | Literal["auto"] = "auto"
    max_consecutive_failures: int = 10

    @property
    def pending_bound(self) -> int:
        """How many trials may be pending at a time."""
        return AUTO_PENDING_PER_WORKER * self.workers if self.max_pending == "auto" else self.max_pending


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes:
        total: Trials that the search will have.
        complete: Trials that have a reward.
        failed: Trials that have failed.
        pending: Trials that were proposed and have not ended.
        workers: Children that can train at a time.
        workers_busy: Children that train now.
        best: The complete trial of highest reward; None before the first.
        given_back: Trials that had failed through no fault of their networks before this search was resumed. They are
            tried again, once.
    """

    total: int
    complete: int
    failed: int
    pending: int
    workers: int
    workers_busy: int
    best: Trial | None
    given_back: int = 0


class SearchObserver(Protocol):
    """Is told what happens in a search.

    What it is told of is stored already. An exception that it raises ends the search; the same call goes on with it.
    """

    def trial_finished(self, trial: Trial) -> None:
        """Take note of a trial that is complete or failed."""

    def progress(self, progress: Progress) -> None:
        """Take note of where the search stands; called after every step and every half second."""


class SilentObserver:
    """Shows nothing."""

    def trial_finished(self, trial: Trial) -> None:
        """See `SearchObserver`."""

    def progress(self, progress: Progress) -> None:
        """See `SearchObserver`."""


class SearchStoppedError(Error):
    """The search gave up because trial after trial failed; the same command goes on once the cause is fixed."""


class OwnPartError(Error):
    """A controller returned something that a search cannot use; it ends the search.

    What a trainer or a latency meter does wrong ends one trial (see `ChildTrainer`).
    """


class _UnusableResultError(Exception):
    """A trainer or a latency meter returned something that cannot be stored or rewarded."""


class Search:
    """One search over one store; `run` works until every trial has ended.

    A controller's state is restored from the store, so a new Search on the store of a stopped one goes on with it. It
    also gives back, once, the trials that had failed through no fault of their networks: they are tried again, and the
    controller is told of them when they succeed.
    """

    def __init__(
        self,
        plan: SearchPlan,
        space: SearchSpace,
        controller: Controller,
        store: TrialStore,
        trainer: ChildTrainer,
        latency: LatencyMeter,
        observer: SearchObserver,
    ) -> None:
        self._plan = plan
        self._space = space
        self._controller = controller
        self._store = store
        self._trainer = trainer
        self._latency = latency
        self._observer = observer
        self._jobs: dict[Future[Mapping[str, Any]], tuple[int, Half]] = {}
        self._pending: dict[int, Trial] = {}
        self._failures: dict[int, Failure] = {}
        self._first_of: dict[str, int] = {}
        self._batch: tuple[int, ...] = ()
        self._backlog: deque[Trial] = deque()
        self._given_back = 0
        self._asked = 0
        self._exhausted = False
        self._failed_in_a_row: list[Trial] = []

    def run(self) -> None:
        """Search until the plan's trials have ended or the space is exhausted.

        Raises:
            SearchStoppedError: `max_consecutive_failures` trials in a row failed, for whatever reason.
            OwnPartError: The controller returned something that cannot be used.
            StoreError: The store cannot be written.
        """
        self._resume()
        while True:
            self._finish_ready()
            self._start_backlog()
            self._propose()
            self._show_progress()
            if self._jobs:
                self._collect()
            elif not self._pending:
                return

    def _resume(self) -> None:
        state = self._store.controller_state()
        if state is not None:
            self._controller.restore(state_from_bytes(state))
        self._given_back = len(self._store.give_back())
        trials = self._store.trials()
        self._asked = len(trials)
        for trial in trials:
            self._remember(trial)
        self._backlog.extend(trial for trial in trials if trial.state == "proposed")
        if self._plan.schedule == "synchronous":
            # The batch that was pending, and what was given back of earlier ones.
            told = {trial_id for call in self._store.controller_log() if call.rewards for trial_id in call.trial_ids}
            self._batch = tuple(trial.id for trial in trials if trial.id not in told)

    def _start_backlog(self) -> None:
        """Start trials of an earlier session, by number, so that a repeat starts after its network."""
        while self._backlog and self._can_start(self._backlog[0]):
            self._start(self._backlog.popleft())

    def _can_start(self, trial: Trial) -> bool:
        if len(self._pending) >= self._plan.pending_bound:
            return False
        trains = trial.training is None and trial.repeat_of is None
        return not trains or self._in_training() < self._plan.workers

    def _remember(self, trial: Trial) -> None:
        if trial.repeat_of is None:
            self._first_of.setdefault(trial.fingerprint, trial.id)

    def _propose(self) -> None:
        """Ask for as many proposals as can start now."""
        count = min(self._room(), self._plan.trials - self._asked)
        if count <= 0 or self._exhausted or self._backlog:
            return
        asked = self._controller.ask(count)
        if len(asked) > count:
            raise OwnPartError(f"the controller returned {len(asked)} proposals, and was asked for {count}")
        self._exhausted = len(asked) < count
        if not asked:
            return
        trials = self._store.propose(count, self._proposals(asked), state_to_bytes(self._controller.state()))
        self._asked += len(trials)
        self._batch = tuple(trial.id for trial in trials)
        for trial in trials:
            self._start(trial)

    def _room(self) -> int:
        if self._plan.schedule == "synchronous":
            return 0 if self._batch else self._plan.batch_size
        return min(self._plan.workers - self._in_training(), self._plan.pending_bound - len(self._pending))

    def _in_training(self) -> int:
        return sum(half == "training" for _, half in self._jobs.values())

    def _proposals(self, asked: Sequence[Sequence[int]]) -> list[Proposal]:
        proposals = []
        for number, given in enumerate(asked, start=self._asked + 1):
            try:
                decisions = tuple(as_integer(decision) for decision in given)  # NumPy's integers are no JSON
                architecture = self._space.decode(decisions)
            except (SpaceError, TypeError) as error:
                raise OwnPartError(f"the controller proposed {given!r}, which is not in the space: {error}") from error
            key = fingerprint(architecture)
            first = self._first_of.setdefault(key, number)
            repeat_of = None if first == number else first
            proposals.append(Proposal(number, decisions, architecture_to_dict(architecture), key, repeat_of))
        return proposals

    def _start(self, trial: Trial) -> None:
        """Start what is still missing of a pending trial."""
        self._pending[trial.id] = trial
        if trial.repeat_of is not None:
            return
        architecture = self._space.decode(trial.decisions)
        if trial.training is None:
            seed = child_seed(self._plan.seed, trial.id)
            self._submit(trial.id, "training", partial(self._trainer.submit, architecture, seed))
        if trial.latency is None:
            self._submit(trial.id, "latency", partial(self._latency.submit, architecture))

    def _submit(self, trial_id: int, half: Half, submit: Callable[[], Future[Mapping[str, Any]]]) -> None:
        try:
            self._jobs[submit()] = (trial_id, half)
        except Exception as error:
            self._failures.setdefault(trial_id, _failure_of(error))

    def _collect(self) -> None:
        """Wait for a half to end and record every one that has."""
        done, _ = wait(self._jobs, timeout=POLL_S, return_when=FIRST_COMPLETED)
        # Futures are an unordered set; the store should not depend on their order.
        for future, (trial_id, half) in sorted(
            ((future, self._jobs.pop(future)) for future in done), key=lambda item: item[1]
        ):
            try:
                result = self._checked(half, future.result())
            except Exception as error:  # whatever it is, it must not end the search or keep it from going on
                self._failures.setdefault(trial_id, _failure_of(error))
                continue
            self._record(trial_id, half, result)

    def _checked(self, half: Half, result: Mapping[str, Any]) -> dict[str, Any]:
        if half == "training":
            return _checked_training(result)
        return _checked_latency(result, self._plan.others_target_ms)

    def _record(self, trial_id: int, half: Half, result: Mapping[str, Any]) -> None:
        if half == "training":
            self._store.record_training(trial_id, result)
        else:
            self._store.record_latency(trial_id, result)
        self._pending[trial_id] = self._store.trial(trial_id)

    def _finish_ready(self) -> None:
        """End every pending trial whose halves have ended, then their repeats, and tell the controller."""
        while ready := self._ready():
            for trial in ready:
                del self._pending[trial.id]
            outcomes = [self._outcome(trial) for trial in ready]
            told = self._tell(ready, outcomes) if self._plan.schedule == "asynchronous" else None
            self._store.finish(outcomes, told)
            for trial in ready:
                self._after(self._store.trial(trial.id))
        if self._batch and self._plan.schedule == "synchronous" and not (self._pending or self._backlog):
            trials = [self._store.trial(trial_id) for trial_id in self._batch]
            self._store.finish([], self._tell(trials, [_outcome_of(trial, trial.id) for trial in trials]))
            self._batch = ()
        self._stop_if_hopeless()

    def _ready(self) -> list[Trial]:
        busy = {trial_id for trial_id, _ in self._jobs.values()}
        return [
            trial
            for trial_id, trial in sorted(self._pending.items())
            if trial_id not in busy and (trial.repeat_of is None or trial.repeat_of not in self._pending)
        ]

    def _outcome(self, trial: Trial) -> Outcome:
        if trial.repeat_of is not None:
            return _outcome_of(self._store.trial(trial.repeat_of), trial.id)
        failure = self._failures.pop(trial.id, None)
        if failure is not None:
            return Outcome(trial.id, failure=failure)
        if trial.training is None or trial.latency is None:
            raise AssertionError(f"trial {trial.id} ended with a half missing and no failure")
        accuracy, latency_ms = float(trial.training["accuracy"]), float(trial.latency["latency_ms"])
        try:
            value = reward(accuracy, *self._rewarded(trial.latency), self._plan.reward)
        except (ValueError, ArithmeticError) as error:
            return Outcome(trial.id, failure=_failure_of(error))
        return Outcome(trial.id, accuracy=accuracy, latency_ms=latency_ms, reward=value)

    def _rewarded(self, latency: Mapping[str, Any]) -> tuple[float, float]:
        """Return the latency and the target (ms) of the phone that decides the reward."""
        pairs = [(float(latency["latency_ms"]), self._plan.target_ms)]
        for name, target_ms in self._plan.others_target_ms.items():
            pairs.append((float(latency["others"][name]["latency_ms"]), target_ms))
        return max(pairs, key=lambda pair: pair[0] / pair[1])

    def _tell(self, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> Told:
        """Tell the controller the rewards of trials."""
        rewards = {trial.id: _told_reward(outcome) for trial, outcome in zip(trials, outcomes, strict=True)}
        told = {trial_id: value for trial_id, value in rewards.items() if value is not None}
        if told:
            self._controller.tell([trial.decisions for trial in trials if trial.id in told], list(told.values()))
        return Told(tuple(told), tuple(told.values()), state_to_bytes(self._controller.state()))

    def _after(self, trial: Trial) -> None:
        """Show a trial that has ended, and count failures in a row."""
        self._observer.trial_finished(trial)
        if trial.repeat_of is not None:  # says nothing new
            return
        if trial.failure is None:
            self._failed_in_a_row.clear()
            return
        # A trial that failed through no fault of its network must not stand for that network.
        if not trial.failure.kind.blames_candidate and self._first_of.get(trial.fingerprint) == trial.id:
            del self._first_of[trial.fingerprint]
        self._failed_in_a_row.append(trial)

    def _stop_if_hopeless(self) -> None:
        if len(self._failed_in_a_row) >= self._plan.max_consecutive_failures:
            raise SearchStoppedError(
                f"{len(self._failed_in_a_row)} trials in a row failed ({_kinds(self._failed_in_a_row)}); fix what they "
                "name and run the same command again, or raise search.max_consecutive_failures"
            )

    def _show_progress(self) -> None:
        counts = self._store.counts()
        best = self._store.best()
        self._observer.progress(
            Progress(
                total=self._plan.trials,
                complete=counts["complete"],
                failed=counts["failed"],
                pending=counts["proposed"],
                workers=self._plan.workers,
                workers_busy=min(self._plan.workers, self._in_training()),
                best=best[0] if best else None,
                given_back=self._given_back,
            )
        )


def child_seed(search_seed: int, trial_id: int) -> int:
    """Return the seed of a trial's child: its initial weights and the order of its images."""
    return (search_seed * 1_000_003 + trial_id) % 2**31


def _checked_training(result: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = _number(result, "accuracy", "the trainer")
    if not 0 <= accuracy <= 1:
        raise _UnusableResultError(f"the trainer returned the accuracy {accuracy}; it must be from 0 to 1")
    return _storable({**result, "accuracy": accuracy}, "the trainer")


def _checked_latency(result: Mapping[str, Any], others: Iterable[str]) -> dict[str, Any]:
    latency_ms = _latency_ms(result)
    measured = result.get("others", {})
    for phone in measured.values():
        _latency_ms(phone)
    for name in others:
        if name not in measured:
            raise _UnusableResultError(
                f"the latency meter returned no `others` for {name!r}, whose latency is rewarded"
            )
    return _storable({**result, "latency_ms": latency_ms}, "the latency meter")


def _latency_ms(result: Mapping[str, Any]) -> float:
    latency_ms = _number(result, "latency_ms", "the latency meter")
    if latency_ms <= 0:
        raise _UnusableResultError(f"the latency meter returned {latency_ms} ms; a latency must be above 0")
    return latency_ms


def _number(result: Mapping[str, Any], key: str, part: str) -> float:
    try:
        value = float(result[key])
    except (TypeError, KeyError, ValueError) as error:
        raise _UnusableResultError(
            f"{part} returned {result!r}; a mapping with the number `{key}` is needed"
        ) from error
    if not math.isfinite(value):
        raise _UnusableResultError(f"{part} returned {value} as `{key}`; it must be a finite number")
    return value


def _storable(result: dict[str, Any], part: str) -> dict[str, Any]:
    try:
        json.dumps(result)
    except (TypeError, ValueError) as error:
        raise _UnusableResultError(
            f"{part} returned something that JSON cannot hold ({error}); use text, numbers, lists and mappings"
        ) from error
    return result


def _failure_of(error: Exception) -> Failure:
    """Return the failure that an exception of a trainer or a latency meter is, its text printable and bounded."""
    if isinstance(error, TrialError):
        kind, text = error.failure.kind, error.failure.message
    elif isinstance(error, _UnusableResultError):
        kind, text = FailureKind.INTERNAL, str(error)
    else:  # type and text, also of an exception that has no printable one
        kind, text = FailureKind.INTERNAL, "".join(traceback.format_exception_only(error)).strip()
    # A lone surrogate (of a file name, say) is no UTF-8, and SQLite would refuse it.
    text = text.encode(errors="backslashreplace").decode()
    return Failure(kind, text if len(text) <= MESSAGE_LENGTH else f"{text[: MESSAGE_LENGTH - 3]}...")


def _kinds(failed: Sequence[Trial]) -> str:
    """Return how often each kind of failure came, with the text of its last one; the kind of the last trial first."""
    last: dict[FailureKind, Failure] = {}
    for trial in reversed(failed):
        if trial.failure is not None:
            last.setdefault(trial.failure.kind, trial.failure)
    counts = Counter(trial.failure.kind for trial in failed if trial.failure is not None)
    return "; ".join(f"{counts[kind]} x {kind.value}: {failure.message}" for kind, failure in last.items())


def _outcome_of(trial: Trial, trial_id: int) -> Outcome:
    return Outcome(trial_id, trial.accuracy, trial.latency_ms, trial.reward, trial.failure)


def _told_reward(outcome: Outcome) -> float | None:
    if outcome.failure is None:
        return outcome.reward
    return FAILED_CANDIDATE_REWARD if outcome.failure.kind.blames_candidate else None
