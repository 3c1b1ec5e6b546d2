"""Children trained by Ray actors: one process and one core (CPU) or one NPU (Ascend) each.

A worker is replaced when it has died, hangs, or has grown past its memory bound: MindSpore keeps every graph that it
has compiled, about 100 MB a child, whatever is deleted.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import queue
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError, WorkerCrashedError
from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError

from mnas.data import SearchData
from mnas.errors import ConfigurationError, MnasError, OutOfMemoryError, TrainingDivergedError
from mnas.experiment import Device, SearchSettings
from mnas.failure import Failure, FailureKind, TrialError
from mnas.own_core import take_core
from mnas.training_settings import TrainingSettings
from search_space import Architecture, architecture_from_dict, architecture_to_dict

_RESOURCE = {"CPU": "CPU", "Ascend": "NPU"}
_PR_SET_PDEATHSIG = 1  # prctl(2)
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


@contextmanager
def ray_cluster(settings: SearchSettings) -> Iterator[None]:
    """Start Ray on this machine for as long as the context lasts, or join the cluster of `settings.ray_address`.

    Raises ConfigurationError where that cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless the user says so
    if settings.ray_address is None:
        # Workers beyond the cores are the user's wish; Ray would let them wait for ever.
        workers = settings.workers if isinstance(settings.workers, int) else 1
        cores = max(len(os.sched_getaffinity(0)), workers)
        ray.init(address="local", num_cpus=cores, include_dashboard=False, **_QUIET)
    else:
        try:
            ray.init(address=settings.ray_address, **_QUIET)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigurationError(f"search.ray_address: {settings.ray_address}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def worker_count(settings: SearchSettings, device: Device) -> int:
    """Return the number of workers, `auto` resolved by what the running Ray cluster has.

    Raises ConfigurationError where the cluster has fewer devices than workers are asked for.
    """
    resource = _RESOURCE[device]
    available = int(ray.cluster_resources().get(resource, 0))
    wanted = available if settings.workers == "auto" else settings.workers
    if wanted > available or wanted < 1:
        raise ConfigurationError(
            f"search.workers: {settings.workers} workers on device {device} need as many {resource} resources; Ray has "
            f"{available}. Lower search.workers, choose another device, or join a cluster with search.ray_address"
        )
    return wanted


class ChildWorker:
    """The actor: trains one child at a time in its own process."""

    def __init__(self, data: SearchData, training: TrainingSettings, device: Device) -> None:
        self._data = data
        self._training = training
        self._device = device
        # One core each on the CPU: two workers of one thread beat one of two, and their compilations overlap.
        self._threads = 1 if device == "CPU" else None
        # Before MindSpore is loaded: its threads are to stay on that core, too.
        self._core = take_core() if device == "CPU" else None
        _die_with_parent()

    def place(self) -> tuple[str, int]:
        """Return Ray's node and the process, which a quiet window of the latency measurement stops for a moment."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def prepare(self) -> None:
        """Load what a child needs, before the first one asks for it."""
        from mnas.mindspore_setup import prepare_mindspore

        prepare_mindspore(self._device, self._threads)
        for name in ("mnas.network", "mnas.training_step", "onnxruntime"):
            importlib.import_module(name)
        # Garbage is collected twice for every child; what has been loaded by now need not be looked at each time.
        gc.collect()
        gc.freeze()

    def train(self, architecture: Mapping[str, Any], seed: int) -> _Reply:
        """Train one child; failures that have a kind come back as a value."""
        from mnas.child import train_child

        try:
            result = train_child(
                architecture_from_dict(architecture),
                self._training,
                self._data.train,
                self._data.reward,
                seed=seed,
                device=self._device,
                threads=self._threads,
            )
        except MnasError as error:
            return _Reply(None, Failure(_failure_kind(error), str(error)), _resident_mb())
        return _Reply(asdict(result), None, _resident_mb())


@dataclass(frozen=True)
class _Reply:
    result: dict[str, Any] | None
    failure: Failure | None
    resident_mb: float


class ChildPool:
    """Workers that take children one by one; `submit` queues, the future holds the result or raises TrialError."""

    def __init__(
        self, data: SearchData, training: TrainingSettings, settings: SearchSettings, device: Device, workers: int
    ) -> None:
        self._settings = settings
        self._closing = False
        options = {"num_cpus": 1} if device == "CPU" else {"num_cpus": 0, "resources": {"NPU": 1}}
        actor_class = ray.remote(**options)(ChildWorker)
        # Decoded images are put into Ray's object store once; workers of a node read them there without a copy.
        data_reference = ray.put(data)
        self._slots = [_Slot(actor_class, (data_reference, training, device)) for _ in range(workers)]
        self._idle: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        for slot in self._slots:
            slot.start()
            self._idle.put(slot)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="child")

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        """Queue one child."""
        return self._threads.submit(self._train, architecture_to_dict(architecture), seed)

    def pids(self) -> list[int]:
        """Return the processes of the workers on this machine that have started.

        Those on other hosts disturb nothing here, and their process ids mean something else on this one.
        """
        here = ray.get_runtime_context().get_node_id()
        return [slot.place[1] for slot in self._slots if slot.place is not None and slot.place[0] == here]

    def close(self) -> None:
        """Stop every worker; children in training are given up."""
        self._closing = True
        for slot in self._slots:
            slot.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _train(self, architecture: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        slot = self._idle.get()
        try:
            return self._train_with_retries(slot, architecture, seed)
        finally:
            self._idle.put(slot)

    def _train_with_retries(self, slot: _Slot, architecture: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        failure = TrialError(FailureKind.WORKER_DIED, "no attempt was made")
        for _ in range(self._settings.retries + 1):
            if self._closing:
                break
            try:
                reply = slot.train(architecture, seed, self._settings.child_timeout_s)
            except TrialError as error:
                slot.restart(unless=self._closing)
                failure = error
                if error.failure.kind not in (FailureKind.WORKER_DIED, FailureKind.OUT_OF_MEMORY):
                    break
                continue
            if reply.resident_mb > self._settings.worker_memory_mb:
                slot.restart(unless=self._closing)
            if reply.failure is not None:
                raise TrialError(reply.failure.kind, reply.failure.message)
            assert reply.result is not None
            return reply.result
        raise failure


class _Slot:
    """A place for one worker; holds the actor that is there now."""

    def __init__(self, actor_class: Any, arguments: tuple[object, ...]) -> None:
        self._actor_class = actor_class
        self._arguments = arguments
        self._actor: Any = None
        self.place: tuple[str, int] | None = None

    def start(self) -> None:
        """Start a worker; it loads MindSpore in the background."""
        self._actor = self._actor_class.remote(*self._arguments)
        self._place_reference = self._actor.place.remote()
        self._actor.prepare.remote()

    def stop(self) -> None:
        """End the worker at once."""
        self.place = None
        ray.kill(self._actor)

    def restart(self, *, unless: bool) -> None:
        """Replace the worker by a fresh one, or only end it where `unless` is set."""
        self.stop()
        if not unless:
            self.start()

    def train(self, architecture: Mapping[str, Any], seed: int, timeout_s: float) -> _Reply:
        """Train one child on the worker. Raises TrialError where the worker dies, hangs or fails unexpectedly."""
        try:
            if self.place is None:
                self.place = ray.get(self._place_reference, timeout=timeout_s)
            reply: _Reply = ray.get(self._actor.train.remote(architecture, seed), timeout=timeout_s)
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


def _failure_kind(error: MnasError) -> FailureKind:
    if isinstance(error, TrainingDivergedError):
        return FailureKind.TRAINING_DIVERGED
    return FailureKind.OUT_OF_MEMORY if isinstance(error, OutOfMemoryError) else FailureKind.INTERNAL


def _die_with_parent() -> None:
    # A worker that stands still in a quiet window cannot notice that Ray is gone; the kernel can.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
