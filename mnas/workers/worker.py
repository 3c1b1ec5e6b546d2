"""The process that trains children, one at a time, on one core (CPU) or one NPU (Ascend): a Ray actor."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray

from mnas.data import SearchData
from mnas.data.node_paths import on_this_host
from mnas.errors import DataError, Error, Failure, FailureKind, OutOfMemoryError, TrainingDivergedError
from mnas.mindspore_setup import Compute, prepare_mindspore
from mnas.training.rungs import Rung
from mnas.training.settings import TrainingSettings
from mnas.workers.attempts import ProcessUse
from mnas.workers.child import ChildResult, train_child
from mnas.workers.cores import bind_process, take_core
from mnas.workers.npu import prepare_npu, used_share
from search_space import Architecture

# The end of the previous process may take a moment.
HANDOVER_PATIENCE_S = 5.0
# Quiet windows last tens to hundreds of milliseconds, with pauses in between.
STOPPED_LOOKS, STOPPED_LOOK_S = 20, 0.1
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class WorkerSettings:
    """What the workers of a pool work with.

    Attributes:
        training: How a child is trained.
        compute: What a worker computes on.
        child_timeout_s: A child that takes longer counts as failed.
        memory_mb: Resident memory in 10^6 bytes beyond which a worker is replaced after a child.
        max_children: Children after which a worker is replaced; None is no bound.
        workers_per_npu: Workers that share one NPU; on the CPU every worker has a core.
        micro_batch_size: Images of a child that go through the device at a time; None takes whole batches.
        learning_curves: Whether a child is evaluated after every epoch, too.
        folder: Where CANN keeps logs and caches of this worker; None leaves them where CANN puts them.
        max_weights_bytes: Trained weights of at most so many bytes are returned with a result, through Ray's object
            store; 0 returns none.
    """

    training: TrainingSettings
    compute: Compute
    child_timeout_s: float
    memory_mb: float
    max_children: int | None = None
    workers_per_npu: int = 1
    micro_batch_size: int | None = None
    learning_curves: bool = False
    folder: Path | None = None
    max_weights_bytes: int = 0


@dataclass(frozen=True)
class ChildJob:
    """One child to train.

    Attributes:
        architecture: Its network.
        seed: Decides its weights, the order of its images and its dropout.
        rungs: The epochs after which it may be stopped.
    """

    architecture: Architecture
    seed: int
    rungs: tuple[Rung, ...] = ()


@dataclass(frozen=True)
class Reply:
    """The answer of a worker to a job.

    Attributes:
        outcome: The result of the child, or a failure that has a kind.
        resident_mb: Resident memory of the process after it, in 10^6 bytes.
        device_share: Share of its device memory that the process still uses after it; 0 on the CPU.
        cpu_s: CPU time of the process until then.
    """

    outcome: ChildResult | Failure
    resident_mb: float
    device_share: float = 0.0
    cpu_s: float = 0.0


class ChildWorker:
    """A Ray actor that trains children."""

    def __init__(self, data: SearchData, settings: WorkerSettings) -> None:
        """Take a core (CPU); MindSpore is loaded by `prepare`."""
        self._data, self._settings, self._compute = on_this_host(data), settings, settings.compute
        # Before MindSpore is loaded, so that its threads stay on that core, too.
        self._core = take_core() if self._compute.device == "CPU" else None
        die_with_parent()

    def place(self) -> tuple[str, int]:
        """Return Ray's node and the process; a quiet window of a latency measurement pauses the process."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def prepare(self) -> float:
        """Load what a child needs, before the first one asks for it; return the CPU time of the process."""
        if self._compute.device == "Ascend":
            self._compute = prepare_npu(self._compute, self._settings.workers_per_npu, self._settings.folder)
        prepare_mindspore(self._compute)
        for name in ("mnas.network.mindspore_cell", "mnas.training.step", "onnxruntime"):
            importlib.import_module(name)
        # Garbage is collected twice for every child; a collection need not visit the objects loaded by now.
        gc.collect()
        gc.freeze()
        return time.process_time()

    def take_over(self) -> None:
        """Take the core of the previous worker of this slot, which has been ended, unless this one has a core."""
        if self._compute.device == "CPU" and self._core is None:
            self._core = take_core(patience_s=HANDOVER_PATIENCE_S)
            bind_process()

    def train(self, job: ChildJob) -> Reply:
        """Train one child; a failure that has a kind is returned as a value."""
        outcome: ChildResult | Failure
        try:
            outcome = train_child(
                job.architecture,
                self._settings.training,
                self._data,
                seed=job.seed,
                compute=self._compute,
                micro_batch_size=self._settings.micro_batch_size,
                rungs=job.rungs,
                max_weights_bytes=self._settings.max_weights_bytes,
                learning_curve=self._settings.learning_curves,
            )
        except (Error, MemoryError) as error:
            outcome = failure_of(error)
        return Reply(outcome, _resident_mb(), used_share(self._compute), time.process_time())


def failure_of(error: Error | MemoryError | OSError) -> Failure:
    """Return the failure that an error of a training is."""
    if isinstance(error, MemoryError):  # NumPy's, say; those of MindSpore are OutOfMemoryError already
        return Failure(FailureKind.OUT_OF_MEMORY, f"not enough memory: {error}; use a smaller batch or network")
    if isinstance(error, OutOfMemoryError):
        return Failure(FailureKind.OUT_OF_MEMORY, str(error))
    if isinstance(error, TrainingDivergedError):
        return Failure(FailureKind.TRAINING_DIVERGED, str(error))
    if isinstance(error, DataError):  # an image that is read while the child trains
        return Failure(FailureKind.DATA, str(error))
    return Failure(FailureKind.INTERNAL, str(error))


def process_use(pid: int) -> ProcessUse | None:
    """Return what a process of this machine has had; None if it has ended.

    It is `stopped` only if it stays so: a quiet window of a latency measurement stops it for a moment, too.
    """
    try:
        process = psutil.Process(pid)
        looks = STOPPED_LOOKS
        while process.status() == psutil.STATUS_STOPPED and (looks := looks - 1):
            time.sleep(STOPPED_LOOK_S)
        times = process.cpu_times()
        return ProcessUse(looks == 0, times.user + times.system)
    except psutil.Error:
        return None


def die_with_parent() -> None:
    """Let the kernel end this process when the one that has started it ends."""
    # A worker that is paused in a quiet window cannot notice that Ray has ended; the kernel can.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)
