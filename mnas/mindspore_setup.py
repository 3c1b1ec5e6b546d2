"""The one place that prepares MindSpore: environment before its import, then mode, device and threads.

Call `prepare_mindspore` before anything that imports MindSpore (`mnas.network.mindspore_cell`, `mnas.training.step`).
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

from mnas.errors import OutOfMemoryError, TrainingError

Device = Literal["CPU", "Ascend"]
Precision = Literal["O0", "O1", "O2", "O3"]
"""What is computed in float16, by MindSpore's names; see `TrainingSettings.precision`."""

# oneDNN's AVX-512 path runs k x k convolutions of MindSpore with its reference kernel, 4 to 60 times slower than AVX2.
_ONEDNN = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
_OUT_OF_MEMORY = re.compile(r"out of memory|memory not enough|allocate memory failed|bad_alloc", re.IGNORECASE)
_QUIET = {"GLOG_v": "3"}  # errors only


def mindspore_environment(threads: int | None = None) -> dict[str, str]:
    """Return the environment variables that must be set before MindSpore is imported.

    For the environment of worker processes. `threads` bounds OpenMP; None leaves its default, all cores.
    """
    return {**_ONEDNN, **_QUIET, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}


def set_mindspore_environment(threads: int | None = None) -> None:
    """Set those variables in this process, where the user has not; call it before any import of MindSpore."""
    for name, value in mindspore_environment(threads).items():
        os.environ.setdefault(name, value)


def prepare_mindspore(device: Device = "CPU", threads: int | None = None) -> None:
    """Import MindSpore in graph mode for `device`; variables that the user has set stay as they are.

    `threads` bounds its threads in this process; None leaves MindSpore's default. Calling it again is free. Warns
    (RuntimeWarning) where MindSpore was imported before and the variables come too late.
    """
    wanted = mindspore_environment(threads)
    late = sorted(wanted.keys() - os.environ.keys()) if "mindspore" in sys.modules else []
    if late:
        warnings.warn(
            f"MindSpore was imported before mnas could set {', '.join(late)}; training may be several times slower. "
            "Call mnas.mindspore_setup.prepare_mindspore first, or set them in the environment",
            RuntimeWarning,
            stacklevel=2,
        )
    set_mindspore_environment(threads)
    import mindspore

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    _set_device(device)
    if threads is not None:
        _bound_threads(threads)


@contextmanager
def mindspore_errors() -> Iterator[None]:
    """Turn MindSpore's errors into TrainingError or OutOfMemoryError, the cause kept."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).strip().partition("\n")[0]
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            raise OutOfMemoryError(f"not enough memory: {text}; use a smaller batch or network") from error
        raise TrainingError(f"MindSpore failed: {text}") from error


@cache
def _set_device(device: Device) -> None:
    # Once processes have joined, MindSpore refuses even the device that it has.
    import mindspore

    mindspore.set_device(device)


@cache
def _bound_threads(threads: int) -> None:
    # MindSpore takes this number once in a process; a second, other one is its RuntimeError.
    import mindspore

    mindspore.runtime.dispatch_threads_num(threads)
