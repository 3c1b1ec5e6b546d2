"""Children handed to workers that come and go with the nodes of a cluster; knows nothing of Ray.

Every worker has a thread here, which takes the next child when the worker is ready. So no child waits for a worker that
waits for a device, and a child whose worker is lost goes to another one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mnas.errors import Failure, FailureKind, TrialError
from mnas.workers.attempts import LOST_WORKER, NodeTurns, Slot, Tries, attempt
from mnas.workers.child import ChildResult
from mnas.workers.node_health import NodeHealth
from mnas.workers.worker import ChildJob

_LOG = logging.getLogger(__name__)
# Workers that must have died while they trained a network before it can be blamed for it.
MIN_DEATHS = 2
# A worker that has waited for its device for so long is not counted until it has one.
DEVICE_PATIENCE_S = 30.0
# Pause after a worker did not start; doubles with each further time in a row.
START_PAUSE_S, MAX_START_PAUSE_S = 1.0, 60.0


@dataclass(frozen=True)
class Node:
    """A node that can train children.

    Attributes:
        name: Its name, for people.
        room: Workers that it has devices for.
    """

    name: str
    room: int


class PoolSlot(Slot[ChildJob, ChildResult], Protocol):
    """A worker of a pool; see `mnas.workers.slot.WorkerSlot`."""

    def node(self) -> str | None:
        """Return the node on which it has a device; None while it waits for one."""

    def places(self) -> list[tuple[str, int]]:
        """Return the node and the process of each worker that has started, its replacement included."""

    def end_stopped(self, place: tuple[str, int]) -> None:
        """End a worker whose process stands still; the child that it trains fails with `worker_hung`."""

    def close(self) -> None:
        """End the worker at once and give the device back; what waits for it ends."""


@dataclass(eq=False)
class _Job:
    """A child that waits or trains.

    Attributes:
        child: The child.
        tries: Those that have failed.
        failed_on: Their nodes.
        deaths: The nodes of the workers that died while they trained it.
        future: Its result.
    """

    child: ChildJob
    tries: Tries
    failed_on: set[str] = field(default_factory=set)
    deaths: list[str] = field(default_factory=list)
    future: Future[Mapping[str, Any]] = field(default_factory=Future)

    @property
    def is_alone(self) -> bool:
        """Whether its next try has its node for itself; so has the last one, after which it may be blamed."""
        return self.tries.alone or self.tries.lost == self.tries.retries >= MIN_DEATHS - 1

    def begin(self) -> bool:
        """Return whether it is still wanted; from here on it cannot be cancelled."""
        return self.future.running() or self.future.set_running_or_notify_cancel()


@dataclass(eq=False)
class _Worker:
    """A worker that has a thread.

    Attributes:
        slot: Its device.
        among: Nodes that it may be on.
        opened_s: When it was opened.
        node: Where its device is, as far as is known.
        closed: Whether it is to end.
    """

    slot: PoolSlot
    among: frozenset[str]
    opened_s: float
    node: str | None = None
    closed: bool = False

    def is_misplaced(self, node: str | None, usable: frozenset[str]) -> bool:
        """Return whether it has lost its node, is on one that cannot be used, or waits for another choice of nodes."""
        if node is None:
            return self.node is not None or self.among != usable
        return node not in usable


class Dispatcher:
    """The workers of a search, and the children that wait for one."""

    def __init__(
        self,
        open_slot: Callable[[frozenset[str]], PoolSlot],
        has_left: Callable[[str], bool],
        retries: int,
        doubtful: frozenset[FailureKind],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without a worker; `staff` opens them.

        Args:
            open_slot: Opens a worker on one of the given nodes.
            has_left: Returns whether a node is no longer there.
            retries: How often a child is trained again after its worker was lost.
            doubtful: Failures that may not be the network's; see `DOUBTFUL_ON`.
            seconds: Tells the time.
        """
        self._open_slot, self._has_left, self._seconds = open_slot, has_left, seconds
        self._retries, self._doubtful = retries, doubtful
        # On an NPU an internal error is doubtful: it may be the NPU's.
        self._losses = LOST_WORKER | {FailureKind.WORKER_HUNG} | (doubtful & {FailureKind.INTERNAL})
        self._turns = NodeTurns()
        self._health = NodeHealth()
        self._nodes: Mapping[str, Node] = {}
        self._workers: list[_Worker] = []
        self._wanted = 0  # workers; surplus ones end when they have no child
        self._threads: list[threading.Thread] = []
        self._waiting: deque[_Job] = deque()
        self._idle: list[str] = []  # the node of each worker that waits for a child
        self._count = 0
        self._closing = threading.Event()
        self._changed = threading.Condition()

    @property
    def workers(self) -> int:
        """How many children can train at a time."""
        return self._count

    def slots(self) -> list[PoolSlot]:
        """Return the workers that are open."""
        with self._changed:
            return [worker.slot for worker in self._workers]

    def submit(self, child: ChildJob) -> Future[Mapping[str, Any]]:
        """Queue one child; its future has the fields of its `ChildResult`, or raises a TrialError."""
        job = _Job(child, Tries(self._retries, self._doubtful))
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()
        if self._closing.is_set():
            self.give_up()
        return job.future

    def staff(self, nodes: Mapping[str, Node], most: int | None) -> None:
        """Open and close workers, so that there are as many as the nodes have room for; one thread calls this.

        Surplus workers that have a device end after the children that they train.

        Args:
            nodes: The nodes that can be used, by their ids.
            most: The most workers; None is no bound.
        """
        self._say_changes(nodes)
        with self._changed:
            usable = frozenset(nodes.keys() - self._health.left_out(nodes.keys(), self._seconds()))
            self._nodes = nodes
            workers = list(self._workers)
        # A device stays where it is while its node is there; asking for each costs a call of the cluster.
        nodes_now = {worker: worker.node if worker.node in usable else worker.slot.node() for worker in workers}
        misplaced = [worker for worker in workers if worker.is_misplaced(nodes_now[worker], usable)]
        kept = [worker for worker in workers if worker not in misplaced]
        for worker in kept:
            worker.node = nodes_now[worker]
        room = sum(nodes[node_id].room for node_id in usable)
        wanted = room if most is None else min(room, most)
        waiting = [worker for worker in kept if worker.node is None]
        surplus = waiting[: max(0, len(kept) - wanted)]
        for worker in misplaced + surplus:
            self._close(worker)
        with self._changed:
            self._wanted = wanted
            self._changed.notify_all()
        for _ in range(wanted - len(kept)):
            self._open(usable)
        now_s = self._seconds()
        with self._changed:
            able = sum(
                worker.node is not None or now_s - worker.opened_s < DEVICE_PATIENCE_S for worker in self._workers
            )
            self._count = min(able, wanted)

    def close(self) -> None:
        """End every worker; children in training are given up."""
        self.give_up()
        with self._changed:
            workers, threads = list(self._workers), list(self._threads)
        for worker in workers:
            self._close(worker)
        for thread in threads:
            thread.join()

    def give_up(self) -> None:
        """Let no child begin any more, and leave the workers as they are."""
        self._closing.set()
        with self._changed:
            waiting = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for job in waiting:
            if job.begin():
                job.future.set_exception(
                    TrialError(FailureKind.WORKER_DIED, "the search ended before the child was trained")
                )

    def _say_changes(self, nodes: Mapping[str, Node]) -> None:
        """Say which nodes have joined and left, if there were some before."""
        if not self._nodes:
            return
        for node_id in self._nodes.keys() - nodes.keys():
            _LOG.warning(
                "mnas: node %s has left; what its workers trained is trained again elsewhere", self._nodes[node_id].name
            )
        for node_id in nodes.keys() - self._nodes.keys():
            node = nodes[node_id]
            _LOG.warning("mnas: node %s has joined, with room for %d workers", node.name, node.room)

    def _open(self, among: frozenset[str]) -> None:
        worker = _Worker(self._open_slot(among), among, self._seconds())
        thread = threading.Thread(target=self._serve, args=(worker,), name="child", daemon=True)
        with self._changed:
            self._workers.append(worker)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def _close(self, worker: _Worker, *, if_surplus: bool = False) -> None:
        """End a worker, or only if there are more than wanted; what it trains is tried again."""
        with self._changed:
            if worker.closed or (if_surplus and not self._has_surplus()):
                return
            worker.closed = True
            self._workers.remove(worker)
            self._changed.notify_all()
        worker.slot.close()

    def _serve(self, worker: _Worker) -> None:
        """Train one child after another on a worker."""
        try:
            while not self._is_over(worker):
                if (node := self._wait_until_ready(worker)) and (job := self._take(worker, node)):
                    self._train(worker, node, job)
                self._close(worker, if_surplus=True)
        except Exception as error:  # another worker is opened in its place
            if not self._is_over(worker):
                _LOG.warning("mnas: a worker is given up: %s", error)
        finally:
            if not self._closing.is_set():  # then `close` does it, and Ray may be gone
                self._close(worker)

    def _is_over(self, worker: _Worker) -> bool:
        return worker.closed or self._closing.is_set()

    def _has_surplus(self) -> bool:
        return len(self._workers) > self._wanted

    def _wait_until_ready(self, worker: _Worker) -> str | None:
        """Return the node of a worker that can train; None if it is closed, or there are more than wanted.

        If it does not start, that is a failed try of the child that waits longest.
        """
        pause_s = START_PAUSE_S
        while not (self._is_over(worker) or self._has_surplus()):
            try:
                return worker.slot.prepare()
            except TrialError as error:
                if self._is_over(worker):
                    break
                self._blame_start(worker.slot.node(), error.failure)
                worker.slot.replace()
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, MAX_START_PAUSE_S)
        return None

    def _blame_start(self, node: str | None, failure: Failure) -> None:
        with self._changed:
            job = self._next(node or "")
            if job is None:
                self._record_loss(node or "", object())
        if job is not None:
            self._settle(job, node or "", failure, trained=False)

    def _take(self, worker: _Worker, node: str) -> _Job | None:
        """Wait for a child; None if the worker is closed, or there are more than wanted."""
        with self._changed:
            self._idle.append(node)
            try:
                while not (self._is_over(worker) or self._has_surplus()):
                    if job := self._next(node):
                        return job
                    self._changed.wait()
            finally:
                self._idle.remove(node)
                self._changed.notify_all()
        return None

    def _next(self, node: str) -> _Job | None:
        """Take the first child that waits, unless it has failed on this node and another one is idle."""
        for job in list(self._waiting):
            if node in job.failed_on and not job.failed_on.issuperset(self._idle):
                continue
            self._waiting.remove(job)
            if job.begin():
                return job
        return None

    def _train(self, worker: _Worker, node: str, job: _Job) -> None:
        try:
            outcome, began_at = attempt(
                worker.slot, job.child, self._turns, self._closing, self._doubtful, alone=job.is_alone
            )
        except BaseException as error:
            job.future.set_exception(error)
            raise
        if isinstance(outcome, Failure):
            self._settle(job, node, outcome, trained=True)
            return
        with self._changed:
            self._health.record_success(node)
        job.future.set_result(replace(outcome, started_at=began_at).record())

    def _settle(self, job: _Job, node: str, failure: Failure, *, trained: bool) -> None:
        """End a child that has failed, or let it wait for its next try.

        A try that ended because its node has left is not counted.

        Args:
            job: The child.
            node: Where it has failed.
            failure: How.
            trained: Whether it was in training; otherwise its worker did not start.
        """
        try:
            left = failure.kind in LOST_WORKER and not self._closing.is_set() and self._has_left(node)
        except Exception as error:
            job.future.set_exception(error)
            raise
        with self._changed:
            if failure.kind is FailureKind.TRAINING_DIVERGED:
                self._health.record_success(node)
            elif failure.kind in self._losses and not left:
                self._record_loss(node, job if trained else object())
            again = left
            if not left:
                job.failed_on.add(node)
                if failure.kind is FailureKind.WORKER_DIED and trained:
                    job.deaths.append(node)
                again = job.tries.record(failure)
            if again and not self._closing.is_set():
                self._waiting.appendleft(job)
                self._changed.notify_all()
                return
            if not again:
                failure = self._verdict(job, failure)
        job.future.set_exception(TrialError(failure.kind, failure.message))

    def _record_loss(self, node: str, child: object) -> None:
        known = self._nodes.get(node)
        if known is None:
            return
        workers = min(known.room, self._count)
        rest_s = self._health.record_loss(node, child, workers, self._seconds())
        if rest_s is not None and len(self._nodes) > 1:
            _LOG.warning(
                "mnas: node %s loses one worker after another; it is left out for %.0f minutes", known.name, rest_s / 60
            )

    def _verdict(self, job: _Job, last: Failure) -> Failure:
        """Return the failure of a child after its last try: its own if it kills workers on nodes that train others."""
        always_died = len(job.deaths) == job.tries.lost >= MIN_DEATHS
        if not (always_died and self._health.vouches_against(job, job.deaths)):
            return last
        return Failure(
            FailureKind.KILLS_WORKER,
            f"{len(job.deaths)} workers died while they trained it, on nodes that train other networks; "
            f"at last {last.message}",
        )
