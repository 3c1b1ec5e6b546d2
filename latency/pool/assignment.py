"""Which phone takes which model.

Also what is said of a model that failed on all of them.

Nothing here waits or locks: `LatencyService` does, around it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from latency.errors import LatencyError, PhoneError, ToolError
from latency.measurement.record import LatencyRecord, PhoneIdentity
from latency.phone import PhoneBackend
from latency.pool.health import PhoneHealth, PhoneState, RetryPolicy


class PhoneWorker:
    """The part of the pool that drives one phone.

    Attributes:
        phone: The phone.
        health: Its failures.
        identity: Who it is; None until it has said so.
        busy: Whether it measures or is asked who it is.
        identified: Whether it has identified itself since its last failure.
    """

    def __init__(self, phone: PhoneBackend, number: int, policy: RetryPolicy) -> None:
        self.phone = phone
        self.health = PhoneHealth(policy)
        self.identity: PhoneIdentity | None = None
        self.busy = False
        self.identified = False
        self._number = number

    @property
    def label(self) -> str:
        """The phone's name, with its serial and core once they are known."""
        if self.identity is None:
            return f"{self.phone.name} (number {self._number})"
        return f"{self.phone.name} (serial {self.identity.serial}, core {self.identity.core})"

    def state(self, now_s: float) -> PhoneState:
        """Return what the phone does at this monotonic time."""
        if self.busy:
            return "busy"
        if self.health.quarantined:
            return "quarantined"
        return "resting" if now_s < self.health.rests_until else "idle"


@dataclass(eq=False)
class Job:
    """A model that waits for its latency, and its failures so far."""

    model: bytes
    future: Future[LatencyRecord] = field(default_factory=Future)
    submitted_at_s: float = field(default_factory=time.monotonic)
    failures: list[tuple[PhoneWorker, LatencyError]] = field(default_factory=list)

    def failures_on(self, worker: PhoneWorker) -> int:
        """Return how often this phone has failed it."""
        return sum(each is worker for each, _ in self.failures)

    def start(self) -> bool:
        """Return whether to go on with it; not if it was cancelled."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def give_up(self) -> None:
        """Fail with what has been seen, or cancel if nothing was tried."""
        if self.failures:
            self.future.set_exception(_summary(self.failures))
        elif self.future.cancel():
            self.future.set_running_or_notify_cancel()


def next_job(queue: Iterable[Job], worker: PhoneWorker, workers: Sequence[PhoneWorker], now_s: float) -> Job | None:
    """Return the first job in the queue that this phone should take.

    Returns:
        None if all are better left to other phones.
    """
    return next((job for job in queue if not _better_off(job, worker, workers, now_s)), None)


def _better_off(job: Job, worker: PhoneWorker, workers: Sequence[PhoneWorker], now_s: float) -> bool:
    """Return whether the job should be left to another phone that can be relied on.

    A phone that has failed it less often is worth waiting for. Between equals, one that is idle now and has failed less
    lately takes it.
    """

    def rank(each: PhoneWorker) -> tuple[int, int]:
        return job.failures_on(each), each.health.failures_in_row

    mine = rank(worker)
    return any(
        rank(rival)[0] < mine[0] or (rank(rival) < mine and rival.state(now_s) == "idle")
        for rival in workers
        if rival is not worker and not rival.health.quarantined
    )


def _summary(failures: Sequence[tuple[PhoneWorker, LatencyError]]) -> LatencyError:
    """Return the error of a measurement that failed on every phone.

    If only one phone was asked, it is the last error itself.
    """
    _, last = failures[-1]
    if len({id(worker) for worker, _ in failures}) == 1:
        return last
    said: dict[str, list[str]] = {}
    for worker, error in failures:
        said.setdefault(worker.label, []).append(error.kind)
    latest = {worker.label: str(error) for worker, error in failures}
    text = "; ".join(f"{label}: {', '.join(kinds)}: {latest[label]}" for label, kinds in said.items())
    message = f"{len(failures)} attempts failed ({text})"
    blamed = next((error for _, error in reversed(failures) if isinstance(error, PhoneError)), None)
    return ToolError(last.kind, message) if blamed is None else blamed.with_message(message)
