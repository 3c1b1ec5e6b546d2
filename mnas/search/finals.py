"""The training of the finalists, after the trials of a search have ended.

It works as the driver does: what has ended, and what is decided from it, is committed before the next step, so a
process killed at any moment loses nothing that has ended and repeats nothing. The trials, the controller and its log
stay as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mnas.errors import Failure
from mnas.experiment import FinalistSettings
from mnas.search.clock import Clock, RealClock
from mnas.search.contest import Contest
from mnas.search.driver import (
    ChildTrainer,
    LatencyMeter,
    Progress,
    SearchObserver,
    child_seed,
    stop_if_hopeless,
    stop_if_unreadable,
)
from mnas.search.plan import SearchPlan
from mnas.search.requests import NoControl, SearchControl, used_up
from mnas.search.results import failure_of
from mnas.search.session import POLL_S, Ended, Session
from mnas.search.store import TRIED_AGAIN, TrialStore, UnstorableError, record_text
from mnas.search.trial import FinalistTraining, Outcome, Trial
from search_space import architecture_from_dict

# Above the number of every trial, so that no finalist gets the seed of a trial again.
_FIRST_SEED = 1_000_000


def contest_of(store: TrialStore, settings: FinalistSettings) -> Contest:
    """Return the finalists of a search as they are stored."""
    return Contest(store.best(settings.count), store.finalist_trainings(), settings)


def has_finals_to_run(store: TrialStore, settings: FinalistSettings | None) -> bool:
    """Return whether a search whose trials have ended has finalists to train, failed ones that are tried again too."""
    if settings is None:
        return False
    return not contest_of(store, settings).is_over or bool(_tried_again(store))


def _tried_again(store: TrialStore) -> list[FinalistTraining]:
    return [one for one in store.finalist_trainings() if one.failure is not None and not one.failure.kind.is_final]


class Finals:
    """Trains the finalists of one store; `run` works until the best is known or the trainings are used up.

    The plan is that of the search. Failures follow its rules. A synchronous plan decides on `batch_size` trainings at a
    time, when all before have ended. The hours and device hours of its budget hold; its trials are the search's alone.
    """

    def __init__(
        self,
        plan: SearchPlan,
        settings: FinalistSettings,
        store: TrialStore,
        trainer: ChildTrainer,
        latency: LatencyMeter,
        observer: SearchObserver,
        *,
        control: SearchControl | None = None,
        clock: Clock | None = None,
        workers: Callable[[], int] | None = None,
    ) -> None:
        """Prepare the training of the finalists; the arguments are those of `Search`."""
        self._plan = plan
        self._budget = replace(plan.budget, trials=None)
        self._settings = settings
        self._store = store
        self._trainer = trainer
        self._latency = latency
        self._observer = observer
        self._control = control or NoControl()
        self._clock = clock or RealClock()
        self._workers = workers or (lambda: plan.workers)
        self._session = Session(store, self._clock, self._workers, plan.others_target_ms)
        self._pending: dict[int, FinalistTraining] = {}
        self._backlog: deque[FinalistTraining] = deque()
        self._failed_in_a_row: list[FinalistTraining] = []
        self._trials = {trial.id: trial for trial in store.best(settings.count)}
        self._contest = contest_of(store, settings)

    def run(self) -> None:
        """Train the finalists until the contest is over, or something asks it to end.

        Raises:
            SearchStoppedError: `max_consecutive_failures` trainings in a row failed, or an image cannot be read.
            StoreError: The store cannot be written, or another search has begun on it.
        """
        self._resume()
        while True:
            requests = self._control.requests()
            notice = requests.notice or used_up(self._budget, self._session.spent(trials=0)) or ""
            self._advance(may_start=not notice)
            stop_if_hopeless(self._failed_in_a_row, self._plan, "trainings of finalists")
            if requests.stop == "now":
                return
            while not notice and self._backlog and len(self._pending) < self._workers():
                self._start(self._backlog.popleft())
            self._show_progress(notice)
            if self._session.owners:
                self._collect()
            elif not self._pending:
                if self._contest.is_over or (notice and not requests.paused):
                    return
                self._clock.wait((), POLL_S)

    def _resume(self) -> None:
        for failed in _tried_again(self._store):
            self._store.write(
                "UPDATE finalist_trainings SET state = 'proposed', failure_kind = NULL, failure_message = NULL, "
                f"finished_at = NULL WHERE {TRIED_AGAIN} AND id = ?",
                (failed.id,),
            )
        self._refresh()
        for training in self._contest.pending:
            self._trials.setdefault(training.trial, self._store.trial(training.trial))
        self._backlog.extend(self._contest.pending)
        self._session.begin()

    def _refresh(self) -> None:
        self._contest = replace(self._contest, trainings=self._store.finalist_trainings())

    def _advance(self, *, may_start: bool) -> None:
        """End what is ready and decide what is trained next: one commit."""
        with self._store.together():
            ended = self._finish_ready()
            hopeless = len(self._failed_in_a_row) >= self._plan.max_consecutive_failures
            started = self._propose() if may_start and not hopeless else False
            self._session.account(keep=ended or started)

    def _finish_ready(self) -> bool:
        ready = sorted(self._pending.keys() - self._session.owners)
        for training_id in ready:
            self._finish(self._pending.pop(training_id))
        if ready:
            self._refresh()
            for ended in (one for one in self._contest.trainings if one.id in ready):
                if ended.failure is None:
                    self._failed_in_a_row.clear()
                else:
                    self._failed_in_a_row.append(ended)
        return bool(ready)

    def _finish(self, training: FinalistTraining) -> None:
        """Record how a training ended."""
        failure = self._session.failures.pop(training.id, None)
        if failure is None:
            outcome = self._plan.outcome(training.id, training.training, training.latency)
        else:
            outcome = Outcome(training.id, failure=failure)
        self._store.write(
            "UPDATE finalist_trainings SET state = ?, accuracy = ?, latency_ms = ?, reward = ?, failure_kind = ?, "
            "failure_message = ?, finished_at = ? WHERE id = ? AND state = 'proposed'",
            (
                outcome.state,
                outcome.accuracy,
                outcome.latency_ms,
                outcome.reward,
                outcome.failure and outcome.failure.kind.value,
                outcome.failure and outcome.failure.message,
                self._store.now(),
                training.id,
            ),
        )

    def _propose(self) -> bool:
        """Store what is trained next; it is started from the backlog."""
        if self._backlog:
            return False
        if self._plan.schedule == "synchronous":
            room = 0 if self._pending else self._plan.batch_size
        else:
            room = self._workers() - len(self._pending)
        chosen = self._contest.next_trainings(room) if room > 0 else []
        first = max((one.id for one in self._contest.trainings), default=0) + 1
        for number, trial in enumerate(chosen, start=first):
            self._store.write(
                "INSERT INTO finalist_trainings (id, trial, seed, state, proposed_at) VALUES (?, ?, ?, 'proposed', ?)",
                (number, trial.id, child_seed(self._plan.seed, _FIRST_SEED + number), self._store.now()),
            )
        if chosen:
            self._refresh()
            self._backlog.extend(one for one in self._contest.pending if one.id >= first)
        return bool(chosen)

    def _start(self, training: FinalistTraining) -> None:
        """Start what is still missing of a training."""
        self._pending[training.id] = training
        trial: Trial = self._trials[training.trial]
        architecture = architecture_from_dict(trial.architecture, source=f"{self._store.path}: trial {trial.id}")
        if training.training is None:
            self._session.submit(training.id, "training", partial(self._trainer.submit, architecture, training.seed))
        if training.latency is None:
            self._session.submit(training.id, "latency", partial(self._latency.submit, architecture))

    def _collect(self) -> None:
        """Wait for a half to end and record every one that has, in one commit.

        Raises:
            SearchStoppedError: An image cannot be read.
        """
        ended = self._session.collect()
        with self._store.together():
            for each in ended:
                self._record(each)
        stop_if_unreadable(ended)

    def _record(self, ended: Ended) -> None:
        training_id, half, result = ended.owner, ended.half, ended.result
        if isinstance(result, Failure):
            self._session.failures.setdefault(training_id, result)
            return
        try:
            text = record_text(result)
        except UnstorableError as error:
            self._session.failures.setdefault(training_id, failure_of(error))
            return
        self._store.write(f"UPDATE finalist_trainings SET {half} = ? WHERE id = ?", (text, training_id))
        training = self._pending[training_id]
        self._pending[training_id] = (
            replace(training, training=result) if half == "training" else replace(training, latency=result)
        )

    def _show_progress(self, notice: str) -> None:
        counts = self._store.counts()
        ended = self._contest.used - len(self._contest.pending)
        standing = f"finalists: {ended} of at most {self._settings.extra_trainings} more trainings have ended"
        self._observer.progress(
            Progress(
                total=sum(counts.values()),
                complete=counts["complete"],
                failed=counts["failed"],
                stopped=counts["stopped"],
                pending=len(self._contest.pending),
                workers=self._workers(),
                workers_busy=self._session.workers_busy,
                best=next(iter(self._store.best()), None),
                notice=notice or standing,
            )
        )
