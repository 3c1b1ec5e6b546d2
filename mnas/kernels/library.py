"""Where the compiled kernels are, and whether this machine can run them."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent / "prebuilt" / "x86_64.so"
CPU_FLAGS = {"avx2", "fma"}
"""Instructions that the library uses; Intel's processors have them since 2013, AMD's since 2015."""


@cache
def machine_has_kernels() -> bool:
    """Return whether this machine can run the library."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return all(set(line.split()) >= CPU_FLAGS for line in lines if line.startswith("flags"))
