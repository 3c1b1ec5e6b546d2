"""A core of this machine for each worker, so that none is slowed down by another's threads.

MindSpore's runtime keeps a thread that waits by yielding (`sched_yield`) instead of sleeping. On its worker's core it
yields to the thread that computes; free to move, it takes the time of another worker.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

_POLL_S = 0.02


def take_core(owners: str = "mnas workers", patience_s: float = 0.0) -> socket.socket | None:
    """Bind this thread, and those that it will start, to a core that none of `owners` on this machine has taken.

    The core is taken until the returned socket is closed or the process ends, however it ends. None, and nothing is
    bound, where every core that this thread may use is taken and none is given back within `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        for core in sorted(os.sched_getaffinity(0)):
            claim = socket.socket(socket.AF_UNIX)
            try:
                # A name in Linux's abstract space: one process has it, no file stays behind, and it ends with it.
                claim.bind(f"\0{owners}/core {core}")
            except OSError:
                claim.close()
                continue
            os.sched_setaffinity(0, {core})
            return claim
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_S)


def bind_process() -> None:
    """Bind every thread of this process to the cores of the calling one."""
    cores = os.sched_getaffinity(0)
    # Twice: a thread that was not bound yet may have started another one meanwhile.
    for _ in range(2):
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread), cores)
