"""How often the training of a network is tried, and who is to blame if every try fails; knows nothing of Ray.

It holds for the children of a search and for full trainings.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol, TypeVar

from mnas.errors import Failure, FailureKind, TrialError
from mnas.mindspore_setup import Device

JobT = TypeVar("JobT", contravariant=True)
ResultT = TypeVar("ResultT", covariant=True)
# The worker is lost, and that says nothing about the network.
LOST_WORKER = frozenset({FailureKind.WORKER_DIED, FailureKind.NODE_MEMORY})
# It may be the network's fault, or that of what ran next to it or before it: one more try, without those, decides.
DOUBTFUL = frozenset({FailureKind.OUT_OF_MEMORY, FailureKind.CHILD_TIMEOUT, FailureKind.WORKER_HUNG})
# After an error of an NPU its process may be of no further use: each child after it would fail at once. So every
# failure but a divergence ends the process, and is doubted.
DOUBTFUL_ON: Mapping[Device, frozenset[FailureKind]] = {
    "CPU": DOUBTFUL,
    "Ascend": DOUBTFUL | {FailureKind.INTERNAL},
}
# A child has a core of its own. One that had less than this share of it until its time-out was held up from outside: by
# other work on the machine, by slow disks, or because it was stopped.
FAIR_CORE_SHARE = 0.5
# The system counts CPU time in steps of 10 ms, and a job is on its way to its process for some: less cannot be judged.
SHORTEST_JUDGED_S = 1.0


@dataclass(frozen=True)
class ProcessUse:
    """What a process has had of its machine.

    Attributes:
        stopped: Whether it stands still (state T: SIGSTOP, a debugger).
        cpu_s: CPU time of all its threads since it started.
    """

    stopped: bool
    cpu_s: float


def timeout_failure(timeout_s: float, use: ProcessUse | None, cpu_before_s: float, *, on_cpu: bool) -> Failure:
    """Return the failure of a child that has not ended in time: its own, or that of what held its process up.

    Args:
        timeout_s: How long it has trained.
        use: What its process has had at the end; None if that cannot be found out.
        cpu_before_s: CPU time of the process before this child.
        on_cpu: Whether the child is computed by the process itself; one that waits for an NPU needs little CPU time.
    """
    late = f"training did not end within {timeout_s:g} s (search.child_timeout_s)"
    if use is None:
        return Failure(FailureKind.CHILD_TIMEOUT, late)
    if use.stopped:
        return Failure(FailureKind.WORKER_HUNG, f"{late}: its process is stopped; let it go on (SIGCONT)")
    used_s = use.cpu_s - cpu_before_s
    if on_cpu and timeout_s >= SHORTEST_JUDGED_S and used_s < FAIR_CORE_SHARE * timeout_s:
        return Failure(
            FailureKind.WORKER_HUNG,
            f"{late}: its process had {used_s:.1f} s of CPU time; give the machine less other work, or fewer workers",
        )
    return Failure(FailureKind.CHILD_TIMEOUT, late)


class Slot(Protocol[JobT, ResultT]):
    """A worker that can be replaced; see `mnas.workers.slot.WorkerSlot`."""

    def prepare(self) -> str:
        """Wait until the worker can train; return its node.

        Raises:
            TrialError: It does not start.
        """

    def train(self, job: JobT) -> ResultT | Failure:
        """Train one network."""

    def replace(self) -> None:
        """End the worker at once; a fresh one takes over."""


class NodeTurns:
    """On each node either several children train, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._alone: set[str] = set()

    @contextmanager
    def turn(self, node: str, *, alone: bool) -> Iterator[None]:
        """Wait for a turn on a node, and keep it as long as the context lasts.

        Children that want to be alone go first, so that they do not wait for ever.
        """
        enter, leave = (self._enter_alone, self._leave_alone) if alone else (self._enter, self._leave)
        with self._changed:
            enter(node)
        try:
            yield
        finally:
            with self._changed:
                leave(node)
                self._changed.notify_all()

    def _enter(self, node: str) -> None:
        self._changed.wait_for(lambda: node not in self._alone and not self._waiting[node])
        self._together[node] += 1

    def _leave(self, node: str) -> None:
        self._together[node] -= 1

    def _enter_alone(self, node: str) -> None:
        self._waiting[node] += 1
        self._changed.wait_for(lambda: node not in self._alone and not self._together[node])
        self._waiting[node] -= 1
        self._alone.add(node)

    def _leave_alone(self, node: str) -> None:
        self._alone.remove(node)


@dataclass
class Tries:
    """The failed tries of a network.

    A network whose worker is lost is tried up to `retries` more times. A network that ran out of memory or time, also
    on a worker that hung, gets one more try. After a failure of memory or time it trains alone on its node.

    Attributes:
        retries: Further tries after a lost worker, counted from the last progress.
        doubtful: Failures that may not be the network's; see `DOUBTFUL_ON`.
        lost: How often its worker was lost since the last progress.
        alone: Whether the next try has its node for itself.
    """

    retries: int
    doubtful: frozenset[FailureKind] = DOUBTFUL
    lost: int = 0
    alone: bool = False
    _doubted: bool = False

    def record(self, failure: Failure, *, progress: bool = False) -> bool:
        """Record a failed try; return whether there is another one.

        Args:
            failure: How it failed.
            progress: Whether there is a part of the training that need not be repeated, and was not there before.
        """
        if progress:
            self.lost = 0
        if failure.kind in LOST_WORKER:
            self.lost += 1
            again = self.lost <= self.retries
        else:
            again = failure.kind in self.doubtful and not self._doubted
            self._doubted = True
        self.alone = self.alone or failure.kind is not FailureKind.WORKER_DIED
        return again


def train_on(
    slot: Slot[JobT, ResultT],
    job: JobT,
    retries: int,
    turns: NodeTurns,
    closing: threading.Event,
    doubtful: frozenset[FailureKind] = DOUBTFUL,
    progress: Callable[[], int] = lambda: 0,
) -> tuple[ResultT, str]:
    """Train a network, and try it again on a fresh worker if a failure may not be its own; see `Tries`.

    Args:
        slot: The worker.
        job: The network.
        retries: Further tries after a lost worker, counted from the last progress.
        turns: Shared by the slots of a pool.
        closing: Set when the pool closes: there are no further tries.
        doubtful: Failures that may not be the network's; see `DOUBTFUL_ON`.
        progress: Returns how much of the training the next try need not repeat.

    Returns:
        The result, and when its try began by the clock of this process (UTC, ISO 8601).

    Raises:
        TrialError: The last try failed.
    """
    tries, done = Tries(retries, doubtful), progress()
    while True:
        outcome, began_at = attempt(slot, job, turns, closing, doubtful, alone=tries.alone)
        if not isinstance(outcome, Failure):
            return outcome, began_at
        before, done = done, progress()
        if not tries.record(outcome, progress=done > before) or closing.is_set():
            raise TrialError(outcome.kind, outcome.message)


def attempt(
    slot: Slot[JobT, ResultT],
    job: JobT,
    turns: NodeTurns,
    closing: threading.Event,
    doubtful: frozenset[FailureKind],
    *,
    alone: bool,
) -> tuple[ResultT | Failure, str]:
    """Try a network once; a worker that is lost, hangs or has run out of memory is replaced.

    Returns:
        The result or the failure, and when it began by the clock of this process (UTC, ISO 8601).
    """
    began_at = ""
    try:
        with turns.turn(slot.prepare(), alone=alone):
            if closing.is_set():
                return Failure(FailureKind.WORKER_DIED, "the command ended before the network was trained"), began_at
            began_at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            outcome = slot.train(job)
        broken = isinstance(outcome, Failure) and outcome.kind in doubtful
    except TrialError as error:
        outcome, broken = error.failure, True
    if broken and not closing.is_set():
        slot.replace()
    return outcome, began_at
