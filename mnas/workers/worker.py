"""The process that trains children, one at a time, on one core (CPU) or one NPU (Ascend): a Ray actor."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import ray

from mnas.data import SearchData
from mnas.errors import Error, Failure, FailureKind, OutOfMemoryError, TrainingDivergedError
from mnas.mindspore_setup import Compute, Device, prepare_mindspore
from mnas.training.settings import TrainingSettings
from mnas.workers.cores import bind_process, take_core
from search_space import architecture_from_dict

# The process before it may take a moment to be gone.
_HANDOVER_PATIENCE_S = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Reply:
    """What came of a child: a result as a JSON-able mapping, or a failure that has a kind.

    resident_mb: memory of the process after it, in 10^6 bytes.
    """

    result: dict[str, Any] | None
    failure: Failure | None
    resident_mb: float


class ChildWorker:
    """The actor."""

    def __init__(self, data: SearchData, training: TrainingSettings, device: Device) -> None:
        self._data = data
        self._training = training
        self._compute = Compute.of_worker(device)
        # Before MindSpore is loaded: its threads are to stay on that core, too.
        self._core = take_core() if device == "CPU" else None
        _die_with_parent()

    def place(self) -> tuple[str, int]:
        """Return Ray's node and the process, which a quiet window of the latency measurement stops for a moment."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def prepare(self) -> None:
        """Load what a child needs, before the first one asks for it."""
        prepare_mindspore(self._compute)
        for name in ("mnas.network.mindspore_cell", "mnas.training.step", "onnxruntime"):
            importlib.import_module(name)
        # Garbage is collected twice for every child; what has been loaded by now need not be looked at each time.
        gc.collect()
        gc.freeze()

    def take_over(self) -> None:
        """Take the core of the worker that was here before and has been ended, unless this one has a core already."""
        if self._compute.device == "CPU" and self._core is None:
            self._core = take_core(patience_s=_HANDOVER_PATIENCE_S)
            bind_process()

    def train(self, architecture: Mapping[str, Any], seed: int) -> Reply:
        """Train one child; failures that have a kind come back as a value."""
        from mnas.workers.child import train_child

        try:
            result = train_child(
                architecture_from_dict(architecture),
                self._training,
                self._data.train,
                self._data.reward,
                seed=seed,
                compute=self._compute,
            )
        except Error as error:
            return Reply(None, Failure(_failure_kind(error), str(error)), _resident_mb())
        return Reply(asdict(result), None, _resident_mb())


def _failure_kind(error: Error) -> FailureKind:
    if isinstance(error, TrainingDivergedError):
        return FailureKind.TRAINING_DIVERGED
    return FailureKind.OUT_OF_MEMORY if isinstance(error, OutOfMemoryError) else FailureKind.INTERNAL


def _die_with_parent() -> None:
    # A worker that stands still in a quiet window cannot notice that Ray is gone; the kernel can.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)
