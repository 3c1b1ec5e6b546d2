"""A device of the Ray cluster reserved for one worker: the worker, and its replacement when it nears its memory bound.

MindSpore keeps every graph that it has compiled, whatever is deleted, so a worker grows with every child and is
replaced before it reaches its bound. On the CPU a replacement loads MindSpore while the old worker goes on training. On
an NPU, whose memory is taken once at the start, it starts when the old worker has ended.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from mnas.errors import Failure, FailureKind, TrialError
from mnas.workers.attempts import ProcessUse, timeout_failure
from mnas.workers.child import ChildResult
from mnas.workers.cluster import RESOURCE
from mnas.workers.worker import ChildJob, ChildWorker, Reply, WorkerSettings, process_use

# Share of the memory bound at which the replacement starts to load MindSpore.
PRELOAD_AT = 0.9
# A worker that has its device, and has not started and loaded MindSpore after this time, is replaced.
START_PATIENCE_S = 300.0
# How often a worker that waits for its device looks whether it is closed.
DEVICE_POLL_S = 1
# Ray's label of a node.
NODE_LABEL = "ray.io/node-id"
# Ray may have to start a process for the question.
USE_TIMEOUT_S = 30.0
# Ray counts resources in ten-thousandths.
RAY_UNITS = 10_000
# A worker that still uses this share of its device memory after a child is replaced. A child takes all but this.
MAX_DEVICE_SHARE = 0.2


class WorkerSlot:
    """One core (CPU), or an NPU (Ascend) or a share of it, reserved until `close`, and its worker."""

    def __init__(self, data: Any, settings: WorkerSettings, among: Collection[str]) -> None:
        """Ask for a device and for a worker on it.

        Args:
            data: The `SearchData`, or Ray's reference to it.
            settings: What the worker works with.
            among: Nodes on which it may be.
        """
        self._data, self._settings = data, settings
        self.closed = False
        """Whether `close` was called."""
        self._hung: str | None = None
        device = settings.compute.device
        # The worker and its replacement have half of what is reserved each: the same node and the same device.
        half = RAY_UNITS // (2 * settings.workers_per_npu) / RAY_UNITS
        where = {NODE_LABEL: f"in({','.join(sorted(among))})"}
        self._group = placement_group([{RESOURCE[device]: 2 * half}], bundle_label_selector=[where])
        here = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=0)
        share = {"num_cpus": half} if device == "CPU" else {"num_cpus": 0, "resources": {"NPU": half}}
        self._actor_class = ray.remote(**share, scheduling_strategy=here)(ChildWorker)
        self._worker = self._start()
        self._replacement: _Actor | None = None
        self._children = 0  # that the worker has trained

    def node(self) -> str | None:
        """Return Ray's node on which the device is reserved; None while it waits for one."""
        table = placement_group_table(self._group)
        return table["bundles_to_node_id"][0] if table.get("state") == "CREATED" else None

    def places(self) -> list[tuple[str, int]]:
        """Return Ray's node and the process of each worker here that has started."""
        workers = (self._worker, self._replacement)
        return [place for worker in workers if worker is not None and (place := worker.place()) is not None]

    def prepare(self) -> str:
        """Wait until the worker can train, or let its replacement take over if that is ready; return its node.

        For its device it waits as long as it takes.

        Raises:
            TrialError: The worker does not start, or the slot is closed.
        """
        with kinds_of_failure():
            while not (self.closed or self._worker.has_started() or self._group.wait(DEVICE_POLL_S)):
                pass
        if self.closed:
            raise TrialError(FailureKind.WORKER_DIED, "the worker was closed")
        self._drop_failed_replacement()
        if self._replacement is not None and self._replacement.state() == "ready":
            self.replace()
        return self._worker.wait_until_ready(START_PATIENCE_S)

    def train(self, job: ChildJob) -> ChildResult | Failure:
        """Train one child on the worker, which `prepare` has made ready.

        Returns:
            The result, or a failure of the training that has a kind.

        Raises:
            TrialError: The worker dies, hangs or fails unexpectedly.
        """
        on_cpu = self._settings.compute.device == "CPU"
        try:
            reply = self._worker.train(job, self._settings.child_timeout_s, on_cpu=on_cpu)
        except TrialError as error:
            if self._hung is None:
                raise
            raise TrialError(FailureKind.WORKER_HUNG, self._hung) from error
        self._children += 1
        if self._is_worn(reply):
            self.replace()
        elif (
            self._settings.compute.device == "CPU"
            and reply.resident_mb > PRELOAD_AT * self._settings.memory_mb
            and self._replacement is None
        ):
            self._replacement = self._start()
        return reply.outcome

    def replace(self) -> None:
        """End the worker at once; its replacement takes over, or a new worker if there is none."""
        if self.closed:
            return
        self._worker.stop()
        self._hung = None
        self._children = 0
        self._drop_failed_replacement()
        if self._replacement is None:
            self._worker = self._start()
        else:
            self._worker, self._replacement = self._replacement, None
            self._worker.take_over()

    def end_stopped(self, place: tuple[str, int]) -> None:
        """End a worker whose process stands still; the child that it trains has failed with `worker_hung`."""
        if place == self._worker.place():
            self._hung = "the process of its worker was stopped (SIGSTOP), and was ended; find out what stops it"
            self._worker.stop()
        elif self._replacement is not None and place == self._replacement.place():
            self._replacement.stop()

    def close(self) -> None:
        """End the workers at once and give the device back."""
        self.closed = True
        for worker in (self._worker, self._replacement):
            if worker is not None:
                worker.stop()
        remove_placement_group(self._group)

    def _is_worn(self, reply: Reply) -> bool:
        most = self._settings.max_children
        return (
            reply.resident_mb > self._settings.memory_mb
            or reply.device_share > MAX_DEVICE_SHARE
            or (most is not None and self._children >= most)
        )

    def _drop_failed_replacement(self) -> None:
        if self._replacement is not None and self._replacement.state() == "failed":
            self._replacement.stop()
            self._replacement = None

    def _start(self) -> _Actor:
        return _Actor(self._actor_class.remote(self._data, self._settings))


class _Actor:
    """A started `ChildWorker` on Ray; it loads MindSpore in the background."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._place: tuple[str, int] | None = None
        self._place_reference = handle.place.remote()
        self._prepared = handle.prepare.remote()
        self._cpu_s = 0.0

    def place(self) -> tuple[str, int] | None:
        """Return node and process, which may have ended since; None before it has started."""
        # Kept: every quiet window asks for it.
        if self._place is None and _is_done(self._place_reference):
            with suppress(RayError):
                self._place = ray.get(self._place_reference)
        return self._place

    def has_started(self) -> bool:
        """Return whether its process runs, or did."""
        return _is_done(self._place_reference)

    def state(self) -> Literal["loading", "ready", "failed"]:
        """Return whether it has loaded what a child needs."""
        if not _is_done(self._prepared):
            return "loading"
        try:
            ray.get(self._prepared)
        except RayError:
            return "failed"
        return "ready"

    def take_over(self) -> None:
        """Let it take the core of the worker before it."""
        self._handle.take_over.remote()

    def stop(self) -> None:
        """End the process at once."""
        ray.kill(self._handle)

    def wait_until_ready(self, timeout_s: float) -> str:
        """Wait until it has loaded what a child needs, and return Ray's node; see `WorkerSlot.prepare`."""
        with kinds_of_failure():
            try:
                (node, _), loaded_cpu_s = ray.get([self._place_reference, self._prepared], timeout=timeout_s)
            except GetTimeoutError as error:
                raise TrialError(
                    FailureKind.WORKER_DIED, f"the training worker was not ready within {timeout_s:g} s"
                ) from error
        self._cpu_s = max(self._cpu_s, loaded_cpu_s)
        return str(node)

    def train(self, job: ChildJob, timeout_s: float, *, on_cpu: bool) -> Reply:
        """Train one child; see `WorkerSlot.train`."""
        with kinds_of_failure():
            try:
                reply: Reply = ray.get(self._handle.train.remote(job), timeout=timeout_s)
            except GetTimeoutError as error:
                failure = timeout_failure(timeout_s, self._use(), self._cpu_s, on_cpu=on_cpu)
                raise TrialError(failure.kind, failure.message) from error
        self._cpu_s = reply.cpu_s
        return reply

    def _use(self) -> ProcessUse | None:
        """Return what the process has had of its machine, asked there; None if that machine does not say."""
        place = self.place()
        if place is None:
            return None
        node, pid = place
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        ask = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(process_use)
        try:
            use: ProcessUse | None = ray.get(ask.remote(pid), timeout=USE_TIMEOUT_S)
        except RayError:  # a time-out is one
            return None
        return use


@contextmanager
def kinds_of_failure() -> Iterator[None]:
    """Turn Ray's errors into TrialError."""
    try:
        yield
    except RayOutOfMemoryError as error:
        # Ray's memory monitor ends workers when the node is short of memory, whoever uses it.
        message = f"the node ran short of memory, so Ray ended the training worker: {_first_line(error)}"
        raise TrialError(FailureKind.NODE_MEMORY, message) from error
    except RayTaskError as error:
        # The text of a RayTaskError is the traceback in the worker. What failed comes first: long texts are cut.
        cause = "".join(traceback.format_exception_only(error.cause)).strip()
        raise TrialError(FailureKind.INTERNAL, f"training failed unexpectedly: {cause}\n{error}") from error
    except SystemExit as error:  # raised by Ray in a thread that waits while Ray shuts down
        raise TrialError(FailureKind.WORKER_DIED, "Ray shut down during the training") from error
    except RayError as error:
        raise TrialError(FailureKind.WORKER_DIED, f"the training worker died: {_last_line(error)}") from error


def _is_done(reference: Any) -> bool:
    done, _ = ray.wait([reference], timeout=0)
    return bool(done)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
