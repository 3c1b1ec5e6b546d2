"""Where the compiled kernels are, and whether they can be used here."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from mnas.mindspore_setup import Device, Precision

LIBRARY = Path(__file__).parent / "prebuilt" / "x86_64.so"
NEEDED = {"avx2", "fma"}
"""What the library expects of the processor: any of Intel's since 2013, of AMD's since 2015."""


def usable_kernels(device: Device, threads: int | None, precision: Precision) -> bool:
    """Return whether to train with the kernels.

    They compute in float32 and in one thread: a training of another precision or of more threads is left to MindSpore,
    as is one on another device or on a machine that the library is not compiled for.
    """
    return (device, threads, precision) == ("CPU", 1, "O0") and machine_has_kernels()


@cache
def machine_has_kernels() -> bool:
    """Return whether this machine can run the library."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return all(set(line.split()) >= NEEDED for line in lines if line.startswith("flags"))
