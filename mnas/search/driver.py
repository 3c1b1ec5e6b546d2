"""The search driver: it asks the controller, has children trained and timed, and tells the controller the rewards.

It knows neither Ray nor phones: trainer and latency meter return futures, so that the scheduling can be tested with
plain executors. Everything learnt is committed to the store before the next step (see `mnas.search.store`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import index as as_integer
from typing import Any, Protocol, runtime_checkable

from controllers import Controller
from mnas.errors import ConfigurationError, Error, Failure, FailureKind
from mnas.search.clock import Clock, RealClock
from mnas.search.halving import EarlyStopping
from mnas.search.plan import SearchPlan
from mnas.search.requests import NoControl, SearchControl, used_up
from mnas.search.results import failure_of, kinds_of, outcome_of, told_reward
from mnas.search.session import POLL_S, Ended, Session
from mnas.search.store import TrialStore, UnstorableError
from mnas.search.trial import FinalistTraining, Outcome, Proposal, Told, Trial, TrialState
from mnas.training.rungs import Rung
from search_space import Architecture, SearchSpace, SpaceError, architecture_to_dict, fingerprint

# Above the seeds of all trials and finalists, so that a second training has a seed of its own.
_SECOND_SEED = 2_000_000
NO_WORKERS = "no device of the cluster is free for training"


class ChildTrainer(Protocol):
    """Trains children.

    The result of a future is a mapping of plain data with at least `accuracy`, from 0 to 1 on the reward set. All of it
    is stored as JSON. A future that raises TrialError makes the trial a failed one of that kind. Any other exception,
    of `submit` too, and any other result make it a failed one of kind `internal`; the search goes on.
    """

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        """Queue one child; `seed` decides its initial weights and the order of its images."""


@runtime_checkable
class RungTrainer(ChildTrainer, Protocol):
    """Trains children, and stops those that are behind; `search.halving` needs it.

    The result of a child with rungs has also `rungs`, a list of mappings with `epoch`, `accuracy` and `least_accuracy`
    of each rung that it has reached, and `stopped`, whether it was stopped at the last of them. Its `accuracy` is then
    that of this rung.
    """

    def submit_with_rungs(
        self, architecture: Architecture, seed: int, rungs: tuple[Rung, ...]
    ) -> Future[Mapping[str, Any]]:
        """Queue one child, which ends at the first rung at which it has less than the least accuracy."""


class LatencyMeter(Protocol):
    """Times architectures.

    The result of a future is a mapping of plain data with at least `latency_ms`, in milliseconds on the phone that the
    experiment names. If the experiment names further phones, `others` holds such a mapping for each of them by name.
    All of it is stored as JSON. Errors are as those of `ChildTrainer`.
    """

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """Queue one measurement."""


class WeightsKeeper(Protocol):
    """Keeps the weights of trained children."""

    def keep(self, trial: Trial | None, result: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the weights in the result of a trainer, before it is recorded; return the result without them.

        None takes them out only.
        """

    def tidy(self) -> None:
        """Delete what need not be kept; called after trials have ended."""


class KeepsNoWeights:
    """Keeps nothing; results hold no weights."""

    def keep(self, trial: Trial | None, result: Mapping[str, Any]) -> dict[str, Any]:
        """See `WeightsKeeper`."""
        return dict(result)

    def tidy(self) -> None:
        """See `WeightsKeeper`."""


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes:
        total: Trials that the search will have.
        complete: Trials that have a reward, and whose training was not stopped early.
        failed: Trials that have failed.
        pending: Trials that were proposed and have not ended.
        workers: Children that can train at a time.
        workers_busy: Children that train now.
        best: The complete trial of highest reward; None before the first.
        given_back: Trials that had failed through no fault of their networks before this search was resumed. They are
            tried again, once.
        stopped: Trials whose training was stopped early, or not begun.
        notice: Why nothing new is started, for people; empty if the search goes on as planned.
    """

    total: int
    complete: int
    failed: int
    pending: int
    workers: int
    workers_busy: int
    best: Trial | None
    given_back: int = 0
    notice: str = ""
    stopped: int = 0


class SearchObserver(Protocol):
    """Is told what happens in a search.

    What it is told of is stored already. An exception that it raises ends the search; the same call goes on with it.
    """

    def trial_finished(self, trial: Trial) -> None:
        """Take note of a trial that has ended."""

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
        *,
        control: SearchControl | None = None,
        clock: Clock | None = None,
        weights: WeightsKeeper | None = None,
        workers: Callable[[], int] | None = None,
    ) -> None:
        """Prepare a search.

        Args:
            plan: What it does.
            space: What its decisions mean.
            controller: What proposes.
            store: Where everything is kept.
            trainer: What trains the children.
            latency: What times the architectures.
            observer: What is told of it.
            control: What is asked of it while it runs.
            clock: What it waits with.
            weights: What keeps trained weights; by default nothing does.
            workers: Returns how many children can train at a time now; by default that is the plan's number.
        """
        if plan.halving is not None and not isinstance(trainer, RungTrainer):
            raise ConfigurationError(
                f"search.halving: the trainer {type(trainer).__qualname__} has no method `submit_with_rungs`; add it, "
                "or leave search.halving out"
            )
        self._plan = plan
        self._space = space
        self._controller = controller
        self._store = store
        self._trainer = trainer
        self._latency = latency
        self._observer = observer
        self._control = control or NoControl()
        self._clock = clock or RealClock()
        self._weights = weights or KeepsNoWeights()
        self._workers = workers or (lambda: plan.workers)
        self._session = Session(store, self._clock, self._workers, plan.others_target_ms)
        self._early = EarlyStopping(plan.halving, plan.highest_accuracy, plan.reward_factor)
        self._pending: dict[int, Trial] = {}
        self._cancelled: set[int] = set()
        self._trained_twice: set[int] = set()
        self._first_of: dict[str, int] = {}
        self._batch: tuple[int, ...] = ()
        self._backlog: deque[Trial] = deque()
        self._given_back = 0
        self._asked = 0
        self._repeats = 0
        self._exhausted = False
        self._failed_in_a_row: list[Trial] = []
        # What the store holds, so that no step has to look through it.
        self._counts: dict[TrialState, int] = {}
        self._best: Trial | None = None

    def run(self) -> None:
        """Search until the plan's trials have ended, the space is exhausted, or something asks it to end.

        Raises:
            SearchStoppedError: `max_consecutive_failures` trials in a row failed, for whatever reason, or an image
                cannot be read.
            OwnPartError: The controller returned something that cannot be used.
            StoreError: The store cannot be written, or another search has begun on it.
        """
        self._resume()
        while True:
            requests = self._control.requests()
            self._cancel(requests.cancelled)
            notice = requests.notice or self._used_up()
            resuming = bool(self._backlog)
            ended, started = self._advance(may_start=not notice)
            # Workers wait for these; observers do not.
            for trial in started if requests.stop != "now" else ():
                self._start(trial)
            if ended:
                self._weights.tidy()
            for trial in ended:
                self._observer.trial_finished(trial)
            stop_if_hopeless(self._failed_in_a_row, self._plan, "trials")
            if requests.stop == "now":
                return
            if not notice:
                self._start_backlog()
            self._show_progress(notice)
            if resuming and not self._backlog:
                continue  # there may be room for proposals
            if self._session.owners:
                self._collect()
            elif not self._pending:
                if not self._more_to_do() or (notice and not requests.paused) or requests.stop:
                    return
                self._clock.wait((), POLL_S)

    def _used_up(self) -> str:
        """Return which part of the budget is used up while there is more to do; empty otherwise."""
        spent = self._session.spent(self._asked - self._repeats)
        return (used_up(self._plan.budget, spent) or "") if self._more_to_do() else ""

    def _more_to_do(self) -> bool:
        return bool(self._backlog) or (self._asked < self._plan.trials and not self._exhausted)

    def _resume(self) -> None:
        state = self._store.controller_state()
        if state is not None:
            self._controller.restore(state)
        self._given_back = len(self._store.give_back())
        if not self._early.is_off:
            self._early.restore(self._store.controller_log(), self._store.trial)
        self._weights.tidy()
        self._trained_twice = set(self._store.second_trainings())
        untold: list[int] = []
        in_batches = self._plan.schedule == "synchronous"
        log = self._store.controller_log() if in_batches else []
        told = {trial_id for call in log if call.rewards for trial_id in call.trial_ids}
        for trial in self._store.iterate():
            self._asked += 1
            self._repeats += self._plan.takes_over(trial)
            if trial.repeat_of is None and not _is_lost(trial):
                self._first_of.setdefault(trial.fingerprint, trial.id)
            if trial.state == "proposed":
                self._backlog.append(trial)
            if trial.id not in told and not _is_lost(trial):
                untold.append(trial.id)
        # The batch that was pending, and what was given back of earlier ones.
        self._batch = tuple(untold) if in_batches else ()
        self._counts = self._store.counts()
        self._best = next(iter(self._store.best()), None)
        self._session.begin()

    def _cancel(self, trial_ids: frozenset[int]) -> None:
        """End trials as cancelled; a child that trains already goes on, and its result is dropped."""
        for trial_id in trial_ids - self._cancelled:
            self._cancelled.add(trial_id)
            self._session.failures[trial_id] = Failure(FailureKind.CANCELLED, "`mnas cancel` was asked for")
            self._session.cancel(trial_id)

    def _advance(self, *, may_start: bool) -> tuple[list[Trial], list[Trial]]:
        """End what is ready, tell the controller, and ask it for as many proposals as can start now: one commit.

        Returns:
            The trials that have ended, and those that were proposed.
        """
        with self._store.together():
            ended = self._finish_ready()
            hopeless = len(self._failed_in_a_row) >= self._plan.max_consecutive_failures
            started = self._propose() if may_start and not hopeless else []
            self._session.account(keep=bool(ended or started))
        return ended, started

    def _start_backlog(self) -> None:
        """Start trials of an earlier session, by number, so that a repeat starts after its network."""
        while self._backlog and self._can_start(self._backlog[0]):
            self._start(self._backlog.popleft())

    def _can_start(self, trial: Trial) -> bool:
        workers = self._workers()
        if len(self._pending) >= self._plan.pending_bound(workers):
            return False
        trains = not self._plan.takes_over(trial) and (trial.training is None or self._needs_second(trial))
        return not trains or self._to_train() < self._plan.training_bound(workers)

    def _propose(self) -> list[Trial]:
        """Ask for as many proposals as can start now."""
        count = min(self._room(), self._plan.trials - self._asked)
        if count <= 0 or self._exhausted or self._backlog:
            return []
        asked = self._controller.ask(count)
        if len(asked) > count:
            raise OwnPartError(f"the controller returned {len(asked)} proposals, and was asked for {count}")
        self._exhausted = len(asked) < count
        if not asked:
            return []
        trials = self._store.propose(count, self._proposals(asked), self._controller.state())
        self._asked += len(trials)
        self._repeats += sum(map(self._plan.takes_over, trials))
        self._counts["proposed"] += len(trials)
        self._batch = tuple(trial.id for trial in trials)
        self._early.ask(self._batch)
        return trials

    def _room(self) -> int:
        if self._plan.schedule == "synchronous":
            return 0 if self._batch else self._plan.batch_size
        workers = self._workers()
        return min(
            self._plan.training_bound(workers) - self._to_train(),
            self._plan.pending_bound(workers) - len(self._pending),
        )

    def _to_train(self) -> int:
        """Return how many children train, or will if their latency allows it."""
        pending = self._pending.values() if self._early.times_first else ()
        untimed = sum(
            trial.latency is None and trial.training is None and not self._plan.takes_over(trial) for trial in pending
        )
        return self._session.in_training + untimed

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
        """Start what is still missing of a pending trial, unless it must wait."""
        self._pending[trial.id] = trial
        if self._plan.takes_over(trial) or trial.id in self._cancelled:
            return
        architecture = self._space.decode(trial.decisions)
        if trial.training is None and self._early.may_train(trial):
            self._session.submit(trial.id, "training", partial(self._train, trial, architecture))
        elif self._needs_second(trial):
            self._start_second(trial)
        if trial.latency is None:
            self._session.submit(trial.id, "latency", partial(self._latency.submit, architecture))

    def _train(self, trial: Trial, architecture: Architecture) -> Future[Mapping[str, Any]]:
        seed, rungs = child_seed(self._plan.seed, trial.id), self._early.rungs(trial)
        if not rungs:
            return self._trainer.submit(architecture, seed)
        assert isinstance(self._trainer, RungTrainer)  # `__init__` sees to it
        return self._trainer.submit_with_rungs(architecture, seed, rungs)

    def _needs_second(self, trial: Trial) -> bool:
        """Return whether the second training of a network is due; one that was stopped early has none."""
        ended = trial.training is not None and not trial.training.get("stopped")
        return ended and trial.id not in self._trained_twice and self._plan.trains_twice(trial)

    def _start_second(self, trial: Trial) -> None:
        self._trained_twice.add(trial.id)
        seed = child_seed(self._plan.seed, _SECOND_SEED + trial.id)
        submit = partial(self._trainer.submit, self._space.decode(trial.decisions), seed)
        self._session.submit(trial.id, "second", submit)

    def _collect(self) -> None:
        """Wait for a half to end and record every one that has, in one commit.

        Raises:
            SearchStoppedError: An image cannot be read.
        """
        ended = self._session.collect()
        with self._store.together():
            for each in ended:
                if each.owner in self._pending:
                    self._record(each)
        stop_if_unreadable(ended)
        for each in ended if self._early.times_first else ():
            trial = self._pending.get(each.owner)
            if each.half == "latency" and trial is not None and trial.latency is not None:
                self._start(trial)

    def _record(self, ended: Ended) -> None:
        trial_id, result = ended.owner, ended.result
        if ended.half == "second":
            self._record_second(trial_id, result)
            return
        if isinstance(result, Failure):
            self._session.failures.setdefault(trial_id, result)
            return
        if ended.half == "training":
            result = self._weights.keep(self._pending[trial_id], result)
        record = self._store.record_training if ended.half == "training" else self._store.record_latency
        try:
            record(trial_id, result)
        except UnstorableError as error:
            self._session.failures.setdefault(trial_id, failure_of(error))
            return
        trial = self._pending[trial_id]
        self._pending[trial_id] = (
            replace(trial, training=result) if ended.half == "training" else replace(trial, latency=result)
        )
        trial = self._pending[trial_id]
        if ended.half == "training" and self._needs_second(trial) and trial_id not in self._session.failures:
            self._start_second(trial)

    def _record_second(self, trial_id: int, result: dict[str, Any] | Failure) -> None:
        """Record a second training, or that the network has failed in it; the trial stands on its first."""
        if not isinstance(result, Failure):
            record = self._weights.keep(None, result)
        elif result.kind.blames_candidate:
            record = {"failure": {"kind": result.kind.value, "message": result.message}}
        else:  # says nothing
            return
        with suppress(UnstorableError):
            self._store.record_second_training(trial_id, record)

    def _finish_ready(self) -> list[Trial]:
        """End every pending trial whose halves have ended, then their repeats, and tell the controller."""
        ended = []
        while ready := self._ready():
            for trial in ready:
                del self._pending[trial.id]
            outcomes = [self._outcome(trial) for trial in ready]
            told = self._tell(ready, outcomes) if self._plan.schedule == "asynchronous" else None
            self._store.finish(outcomes, told)
            for trial in ready:
                ended.append(self._store.trial(trial.id))
                self._note_end(ended[-1], is_new=not self._plan.takes_over(trial))
        if self._batch and self._plan.schedule == "synchronous" and not (self._pending or self._backlog):
            trials = [self._store.trial(trial_id) for trial_id in self._batch]
            self._store.finish([], self._tell(trials, [outcome_of(trial, trial.id) for trial in trials]))
            self._batch = ()
        return ended

    def _ready(self) -> list[Trial]:
        busy = self._session.owners - self._cancelled
        return [
            trial
            for trial_id, trial in sorted(self._pending.items())
            if trial_id not in busy and not (self._plan.takes_over(trial) and trial.repeat_of in self._pending)
        ]

    def _outcome(self, trial: Trial) -> Outcome:
        failure = self._session.failures.pop(trial.id, None)
        if failure is not None:
            return Outcome(trial.id, failure=failure)
        if trial.repeat_of is not None and self._plan.takes_over(trial):
            return outcome_of(self._store.trial(trial.repeat_of), trial.id)
        return self._plan.outcome(trial.id, trial.training, trial.latency)

    def _tell(self, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> Told:
        """Tell the controller the rewards of trials."""
        self._early.tell(trials, outcomes)
        rewards = {trial.id: told_reward(outcome) for trial, outcome in zip(trials, outcomes, strict=True)}
        told = {trial_id: value for trial_id, value in rewards.items() if value is not None}
        if told:
            self._controller.tell([trial.decisions for trial in trials if trial.id in told], list(told.values()))
        return Told(tuple(told), tuple(told.values()), self._controller.state())

    def _note_end(self, trial: Trial, *, is_new: bool) -> None:
        """Count a trial that has ended, and failures in a row; one that took over its outcome says nothing new."""
        self._counts["proposed"] -= 1
        self._counts[trial.state] += 1
        if not is_new:
            return
        if trial.failure is None:
            if trial.training is not None:  # otherwise it does not show that children can be trained
                self._failed_in_a_row.clear()
            is_first = trial.state == "complete" and trial.repeat_of is None
            if is_first and (self._best is None or _merit(trial) > _merit(self._best)):
                self._best = trial
            return
        # A trial that failed through no fault of its network must not stand for that network.
        if not trial.failure.kind.blames_candidate and self._first_of.get(trial.fingerprint) == trial.id:
            del self._first_of[trial.fingerprint]
        if trial.id not in self._cancelled:
            self._failed_in_a_row.append(trial)

    def _show_progress(self, notice: str) -> None:
        workers = self._workers()
        self._observer.progress(
            Progress(
                total=self._plan.trials,
                complete=self._counts["complete"],
                failed=self._counts["failed"],
                pending=self._counts["proposed"],
                workers=workers,
                workers_busy=self._session.workers_busy,
                best=self._best,
                given_back=self._given_back,
                notice=notice or ("" if workers else NO_WORKERS),
                stopped=self._counts["stopped"],
            )
        )


def _merit(trial: Trial) -> tuple[float, int]:
    """Return what the better of two complete trials has more of; of equal rewards the earlier trial is better."""
    assert trial.reward is not None
    return trial.reward, -trial.id


def _is_lost(trial: Trial) -> bool:
    """Return whether a trial ended without a word about its network, for good."""
    return trial.failure is not None and not trial.failure.kind.blames_candidate


def stop_if_hopeless(failed: Sequence[Trial | FinalistTraining], plan: SearchPlan, what: str) -> None:
    """Raise SearchStoppedError if too many have failed in a row; `what` they are."""
    if len(failed) >= plan.max_consecutive_failures:
        raise SearchStoppedError(
            f"{len(failed)} {what} in a row failed ({kinds_of(failed)}); fix what they name and run the same command "
            "again, or raise search.max_consecutive_failures"
        )


def stop_if_unreadable(ended: Iterable[Ended]) -> None:
    """Raise SearchStoppedError if an image cannot be read. What is pending stays so, and is tried again."""
    for each in ended:
        if isinstance(each.result, Failure) and each.result.kind is FailureKind.DATA:
            raise SearchStoppedError(
                f"{each.result.message}. Every child would fail; run the same command again once this is corrected"
            )


def child_seed(search_seed: int, trial_id: int) -> int:
    """Return the seed of a trial's child: its initial weights and the order of its images."""
    return (search_seed * 1_000_003 + trial_id) % 2**31
