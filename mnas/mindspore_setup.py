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
from typing import Annotated, Literal

import msgspec

from mnas.errors import ConfigurationError, Error, OutOfMemoryError, TrainingError
from mnas.kernels.library import machine_has_kernels

Device = Literal["CPU", "Ascend"]
Precision = Literal["O0", "O1", "O2", "O3"]
"""Which parts of a network compute in float16, by MindSpore's names; see `TrainingSettings.precision`."""

# With AVX-512, oneDNN runs MindSpore's k x k convolutions by its reference kernel, 4 to 60 times slower than with AVX2.
ONEDNN_VARIABLES = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
OUT_OF_MEMORY_MESSAGE = re.compile(
    r"out of memory|memory not enough|memory isn't enough|allocate memory failed|failed to allocate memory|bad_alloc"
    r"|malloc device memory failed|\b207001\b|\bEL0004\b",
    re.IGNORECASE,
)
# A line of an error of Ascend that says why: a code such as EL0004, E40021 or EI0006, and the reason.
ASCEND_REASON = re.compile(r"^\s*(E[A-Z]?\d{4,5}\b.*\S)\s*$", re.MULTILINE)
REASONS_KEPT = 3
# The step of a deep network nests more calls than MindSpore's default of 1,000 when it is compiled for Ascend.
ASCEND_CALL_DEPTH = 3000
LOG_VARIABLES = {"GLOG_v": "3"}  # errors only


class AscendSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How MindSpore computes on an NPU. None of it has been run on one.

    Attributes:
        jit_level: How much of a graph is compiled as a whole. O0 compiles fastest and runs kernel by kernel; O1 also
            fuses kernels; O2 compiles the whole graph for the fastest steps, 144 s for MindCV's MnasNet-0.75.
            MindSpore 2.9 and later call O2 deprecated.
        op_compile: Whether kernels of CANN's older interface are compiled for each shape instead of taken ready-made.
            Steps may be faster; a new network then waits for some hundred compilations.
        deterministic: Whether a kernel gives the same result for the same input each time. It costs speed.
        memory_gb: Device memory that a process may take, in 10^9 bytes. Absent: a worker of a search takes its share
            of the card, and a retraining what is free.
    """

    jit_level: Literal["O0", "O1", "O2"] = "O0"
    op_compile: bool = False
    deterministic: bool = False
    memory_gb: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None


@dataclass(frozen=True)
class Compute:
    """Where a process computes networks.

    Attributes:
        device: What MindSpore computes on. onnxruntime always computes on the CPU.
        threads: CPU threads of MindSpore and onnxruntime in this process; None leaves their defaults, all cores.
        kernels: Whether trainings may use `mnas.kernels`. The results are the same, to rounding.
        ascend: How MindSpore computes on an NPU; without effect on the CPU.
    """

    device: Device = "CPU"
    threads: int | None = None
    kernels: bool = True
    ascend: AscendSettings = AscendSettings()

    @classmethod
    def of_worker(cls, device: Device, ascend: AscendSettings = AscendSettings()) -> Compute:
        """Return what a worker that trains children computes on: one core (CPU) or one NPU (Ascend).

        On the CPU two workers of one thread are faster than one worker of two, because their compilations overlap.
        """
        return cls(device, threads=1 if device == "CPU" else None, ascend=ascend)

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
    if compute.device == "Ascend":
        _set_ascend(compute.ascend)
    if compute.threads is not None:
        _bound_threads(compute.threads)


@contextmanager
def mindspore_errors() -> Iterator[None]:
    """Turn MindSpore's errors into TrainingError or OutOfMemoryError, and keep the cause.

    The message has the first line of MindSpore's, and of what is below it the lines in which Ascend says why.
    """
    try:
        yield
    except Error:  # ours, some of which are ValueErrors too
        raise
    except (MemoryError, RuntimeError, TypeError, ValueError) as error:
        text = _reason(str(error))
        if isinstance(error, MemoryError) or OUT_OF_MEMORY_MESSAGE.search(str(error)):
            raise OutOfMemoryError(f"not enough memory: {text}; use a smaller batch or network") from error
        raise TrainingError(f"MindSpore failed: {text}") from error


def _reason(text: str) -> str:
    first, _, rest = text.strip().partition("\n")
    return "; ".join([first, *ASCEND_REASON.findall(rest)[:REASONS_KEPT]])


@cache
def _set_device(device: Device) -> None:
    # Once processes have joined, MindSpore refuses to set a device, even the one that it has.
    import mindspore

    mindspore.set_device(device)


@cache
def _set_ascend(settings: AscendSettings) -> None:
    # MindSpore takes these before its first graph only.
    import mindspore

    mindspore.set_recursion_limit(ASCEND_CALL_DEPTH)
    try:
        mindspore.set_context(jit_config={"jit_level": settings.jit_level})
    except ValueError as error:
        raise ConfigurationError(
            f"ascend.jit_level: MindSpore {mindspore.__version__} refuses {settings.jit_level} ({error}); use O0 or O1"
        ) from error
    mindspore.device_context.ascend.op_tuning.op_compile(settings.op_compile)
    if settings.deterministic:
        mindspore.set_deterministic(True)
    if settings.memory_gb is not None:
        mindspore.runtime.set_memory(max_size=f"{settings.memory_gb * 1e9 / 2**30:.2f}GB")


@cache
def _bound_threads(threads: int) -> None:
    # MindSpore takes this number once in a process; a different second one raises RuntimeError.
    import mindspore

    mindspore.runtime.dispatch_threads_num(threads)
