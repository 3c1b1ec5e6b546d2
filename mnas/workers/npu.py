"""The share of an NPU that a worker has. None of this has been run on a machine with an NPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
from msgspec.structs import replace as changed

from mnas.errors import OutOfMemoryError
from mnas.machine.ascend import Probe, folder_variables, probe
from mnas.machine.check import RANK_VARIABLES, require_machine
from mnas.mindspore_setup import Compute

# Of an NPU's memory, what MindSpore takes if nothing is said is 15/16 of what is free.
USABLE_SHARE = 15 / 16
# A process that was killed gives its device memory back some seconds later.
MEMORY_PATIENCE_S = 120.0
MEMORY_POLL_S = 2.0


def prepare_npu(compute: Compute, workers_per_npu: int, folder: Path | None) -> Compute:
    """Make the process ready for MindSpore on an NPU; return `compute` with a limit of device memory.

    Call it before MindSpore is imported. Variables that would tell MindSpore of other processes are removed.

    Raises:
        ConfigurationError: Something on this machine stands in the way.
        OutOfMemoryError: The memory of the NPU does not become free.
    """
    for name in RANK_VARIABLES:
        os.environ.pop(name, None)
    if folder is not None:
        for name, value in folder_variables(folder).items():
            os.environ.setdefault(name, value)
    require_machine("Ascend")
    memory_gb = wait_for_memory(compute.ascend.memory_gb, workers_per_npu)
    return replace(compute, ascend=changed(compute.ascend, memory_gb=memory_gb))


def wait_for_memory(
    memory_gb: float | None,
    workers_per_npu: int,
    *,
    look: Callable[[], Probe] = probe,
    patience_s: float = MEMORY_PATIENCE_S,
    poll_s: float = MEMORY_POLL_S,
) -> float:
    """Wait until the memory that a worker may take is free on its NPU; return it in 10^9 bytes.

    MindSpore keeps what it has taken at its start. A worker that starts before the memory of the one before it is free
    would stay small for its whole life.

    Args:
        memory_gb: The memory that the settings give it; None is an equal share of the NPU.
        workers_per_npu: Workers that share the NPU.
        look: Looks at the NPU.
        patience_s: Seconds to wait.
        poll_s: Seconds between two looks.

    Raises:
        OutOfMemoryError: It does not become free.
    """
    deadline = time.monotonic() + patience_s
    while True:
        device = look().devices[0]
        wanted = memory_gb or USABLE_SHARE * device.total_gb / workers_per_npu
        # An idle card is not free to the last byte, so a worker that has it all waits for a little less.
        if device.free_gb >= min(wanted, USABLE_SHARE * USABLE_SHARE * device.total_gb):
            return min(wanted, device.free_gb)
        if time.monotonic() >= deadline:
            raise OutOfMemoryError(
                f"{device.free_gb:.1f} of {device.total_gb:.1f} GB are free on the NPU, and a worker takes "
                f"{wanted:.1f}; end what else uses it (`npu-smi info`), or lower ascend.memory_gb"
            )
        time.sleep(poll_s)


def used_share(compute: Compute) -> float:
    """Return the share of its device memory that this process uses, 0 on the CPU; call it between two children."""
    if compute.device == "CPU" or compute.ascend.memory_gb is None:
        return 0.0
    import mindspore

    return float(mindspore.runtime.memory_allocated()) / (compute.ascend.memory_gb * 1e9)


def with_descendants(pid: int) -> list[int]:
    """Return a process and those that it has started, directly or not; none if it has ended."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []
