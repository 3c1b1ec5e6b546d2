"""A device of the Ray cluster for one worker: the worker that is there and, when that one grows old, its successor.

MindSpore keeps every graph that it has compiled, whatever is deleted, so a worker grows with every child and is
replaced before it reaches its bound. A successor loads MindSpore while the old worker goes on training.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError, WorkerCrashedError
from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from mnas.errors import FailureKind, TrialError
from mnas.mindspore_setup import Device
from mnas.workers.cluster import RESOURCE
from mnas.workers.worker import ChildWorker, Reply

# Of the memory bound: from here on a successor is being made ready.
_GROWN_OLD = 0.9
# Ray counts resources in ten-thousandths.
_RAY_UNITS = 10_000


class WorkerSlot:
    """One core (CPU), or an NPU (Ascend) or a share of it, reserved until `close`, and its worker."""

    def __init__(
        self, arguments: tuple[object, ...], device: Device, memory_mb: float, slots_per_device: int = 1
    ) -> None:
        """`arguments` are those of `ChildWorker`; beyond `memory_mb` of resident memory a worker is replaced."""
        self._arguments = arguments
        self._memory_mb = memory_mb
        # Each of the two has half of what is reserved for both: the same node and the same device.
        half = _RAY_UNITS // (2 * slots_per_device) / _RAY_UNITS
        self._group = placement_group([{RESOURCE[device]: 2 * half}])
        here = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=0)
        share = {"num_cpus": half} if device == "CPU" else {"num_cpus": 0, "resources": {"NPU": half}}
        self._actor_class = ray.remote(**share, scheduling_strategy=here)(ChildWorker)
        self._worker = self._start()
        self._successor: _Worker | None = None

    def places(self) -> list[tuple[str, int]]:
        """Return Ray's node and the process of each worker here that has started."""
        workers = (self._worker, self._successor)
        return [place for worker in workers if worker is not None and (place := worker.place()) is not None]

    def train(self, architecture: Mapping[str, Any], seed: int, timeout_s: float) -> Reply:
        """Train one child on the worker. Raises TrialError where the worker dies, hangs or fails unexpectedly."""
        self._drop_failed_successor()
        if self._successor is not None and self._successor.state() == "ready":
            self.replace()
        reply = self._worker.train(architecture, seed, timeout_s)
        if reply.resident_mb > self._memory_mb:
            self.replace()
        elif reply.resident_mb > _GROWN_OLD * self._memory_mb and self._successor is None:
            self._successor = self._start()
        return reply

    def replace(self) -> None:
        """End the worker at once; its successor takes its place, or else a fresh one."""
        self._worker.stop()
        self._drop_failed_successor()
        if self._successor is None:
            self._worker = self._start()
        else:
            self._worker, self._successor = self._successor, None
            self._worker.take_over()

    def close(self) -> None:
        """End the workers at once and give the device back."""
        for worker in (self._worker, self._successor):
            if worker is not None:
                worker.stop()
        remove_placement_group(self._group)

    def _drop_failed_successor(self) -> None:
        if self._successor is not None and self._successor.state() == "failed":
            self._successor.stop()
            self._successor = None

    def _start(self) -> _Worker:
        return _Worker(self._actor_class.remote(*self._arguments))


class _Worker:
    """A started actor; it loads MindSpore in the background."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._place: tuple[str, int] | None = None
        self._place_reference = actor.place.remote()
        self._prepared = actor.prepare.remote()

    def place(self) -> tuple[str, int] | None:
        """Return node and process, which may have ended since; None while there has been none."""
        # Kept: every quiet window asks for it.
        if self._place is None and _is_done(self._place_reference):
            with suppress(RayActorError):
                self._place = ray.get(self._place_reference)
        return self._place

    def state(self) -> Literal["loading", "ready", "failed"]:
        """Whether it has loaded what a child needs."""
        if not _is_done(self._prepared):
            return "loading"
        try:
            ray.get(self._prepared)
        except (RayActorError, RayTaskError):
            return "failed"
        return "ready"

    def take_over(self) -> None:
        """Let it take the core of the worker before it."""
        self._actor.take_over.remote()

    def stop(self) -> None:
        """End the process at once."""
        ray.kill(self._actor)

    def train(self, architecture: Mapping[str, Any], seed: int, timeout_s: float) -> Reply:
        """Train one child; see `WorkerSlot.train`."""
        try:
            # The start of the process is no part of the child's time.
            ray.get(self._place_reference, timeout=timeout_s)
            reply: Reply = ray.get(self._actor.train.remote(architecture, seed), timeout=timeout_s)
        except GetTimeoutError as error:
            message = f"training did not end within {timeout_s:g} s (search.child_timeout_s)"
            raise TrialError(FailureKind.CHILD_TIMEOUT, message) from error
        except RayOutOfMemoryError as error:
            raise TrialError(
                FailureKind.OUT_OF_MEMORY, f"the worker ran out of memory: {_first_line(error)}"
            ) from error
        except (RayActorError, WorkerCrashedError) as error:
            raise TrialError(FailureKind.WORKER_DIED, f"the training worker died: {_last_line(error)}") from error
        except RayTaskError as error:
            raise TrialError(FailureKind.INTERNAL, f"training failed unexpectedly: {error}") from error
        return reply


def _is_done(reference: Any) -> bool:
    done, _ = ray.wait([reference], timeout=0)
    return bool(done)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
