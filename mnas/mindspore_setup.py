"""Where networks are computed (`Compute`), and the one place that prepares MindSpore for it.

Call `prepare_mindspore` before anything that imports MindSpore (`mnas.network.mindspore_cell`, `mnas.training.step`).
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

from mnas.errors import OutOfMemoryError, TrainingError
from mnas.kernels.library import machine_has_kernels

Device = Literal["CPU", "Ascend"]
Precision = Literal["O0", "O1", "O2", "O3"]
"""Which parts of a network compute in float16, by MindSpore's names; see `TrainingSettings.precision`."""

# With AVX-512, oneDNN runs MindSpore's k x k convolutions by its reference kernel, 4 to 60 times slower than with AVX2.
ONEDNN_VARIABLES = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
OUT_OF_MEMORY_MESSAGE = re.compile(r"out of memory|memory not enough|allocate memory failed|bad_alloc", re.IGNORECASE)
LOG_VARIABLES = {"GLOG_v": "3"}  # errors only


@dataclass(frozen=True)
class Compute:
    """Where a process computes networks.

    Attributes:
        device: What MindSpore computes on. onnxruntime always computes on the CPU.
        threads: CPU threads of MindSpore and onnxruntime in this process; None leaves their defaults, all cores.
        kernels: Whether trainings may use `mnas.kernels`. The results are the same, to rounding.
    """

    device: Device = "CPU"
    threads: int | None = None
    kernels: bool = True

    @classmethod
    def of_worker(cls, device: Device) -> Compute:
        """Return what a worker that trains children computes on: one core (CPU) or one NPU (Ascend).

        On the CPU two workers of one thread are faster than one worker of two, because their compilations overlap.
        """
        return cls(device, threads=1 if device == "CPU" else None)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that must be set before MindSpore is imported."""
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        return {**ONEDNN_VARIABLES, **LOG_VARIABLES, **threads}

    def uses_kernels(self, precision: Precision) -> bool:
        """Return whether a training in this precision uses `mnas.kernels`.

        They compute in float32 and in one thread. MindSpore's own operators train in another precision, in more
        threads, on another device and on a machine that the kernels are not compiled for.
        """
        suitable = (self.device, self.threads, precision) == ("CPU", 1, "O0")
        return self.kernels and suitable and machine_has_kernels()


def set_mindspore_environment(compute: Compute = Compute()) -> None:
    """Set the variables of `Compute.environment` that the user has not set.

    Call it before any import of MindSpore.
    """
    for name, value in compute.environment().items():
        os.environ.setdefault(name, value)


def prepare_mindspore(compute: Compute = Compute()) -> None:
    """Import MindSpore in graph mode for `compute`.

    Environment variables that the user has set stay as they are. Calling it again is free. Warns (RuntimeWarning) if
    MindSpore was imported before, because the variables come too late then.
    """
    wanted = compute.environment()
    late = sorted(wanted.keys() - os.environ.keys()) if "mindspore" in sys.modules else []
    if late:
        warnings.warn(
            f"MindSpore was imported before mnas could set {', '.join(late)}; training may be several times slower. "
            "Call mnas.mindspore_setup.prepare_mindspore first, or set them in the environment",
            RuntimeWarning,
            stacklevel=2,
        )
    set_mindspore_environment(compute)
    import mindspore

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    _set_device(compute.device)
    if compute.threads is not None:
        _bound_threads(compute.threads)


@contextmanager
def mindspore_errors() -> Iterator[None]:
    """Turn MindSpore's errors into TrainingError or OutOfMemoryError, and keep the cause."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).strip().partition("\n")[0]
        if isinstance(error, MemoryError) or OUT_OF_MEMORY_MESSAGE.search(str(error)):
            raise OutOfMemoryError(f"not enough memory: {text}; use a smaller batch or network") from error
        raise TrainingError(f"MindSpore failed: {text}") from error


@cache
def _set_device(device: Device) -> None:
    # Once processes have joined, MindSpore refuses to set a device, even the one that it has.
    import mindspore

    mindspore.set_device(device)


@cache
def _bound_threads(threads: int) -> None:
    # MindSpore takes this number once in a process; a different second one raises RuntimeError.
    import mindspore

    mindspore.runtime.dispatch_threads_num(threads)
