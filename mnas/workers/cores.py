"""One core of this machine for each worker, so that the threads of one worker do not slow down another.

A thread of MindSpore's runtime waits by yielding (`sched_yield`) instead of sleeping. Bound to its worker's core, it
yields to the thread that computes; not bound, it takes the time of another worker.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

CORE_POLL_S = 0.02


def take_core(owners: str = "mnas workers", patience_s: float = 0.0) -> socket.socket | None:
    """Bind this thread, and those that it will start, to a core that no other process of `owners` has taken.

    Args:
        owners: Name of the group of processes on this machine among which no two take the same core.
        patience_s: Seconds to wait for a core if all are taken.

    Returns:
        A socket: the core stays taken until it is closed or the process ends, however it ends. None, and nothing is
        bound, if every core that this thread may use stays taken.
    """
    deadline = time.monotonic() + patience_s
    while True:
        for core in sorted(os.sched_getaffinity(0)):
            claim = socket.socket(socket.AF_UNIX)
            try:
                # A name in Linux's abstract namespace: only one process can have it, and it leaves no file behind.
                claim.bind(f"\0{owners}/core {core}")
            except OSError:
                claim.close()
                continue
            os.sched_setaffinity(0, {core})
            return claim
        if time.monotonic() >= deadline:
            return None
        time.sleep(CORE_POLL_S)


def bind_process() -> None:
    """Bind every thread of this process to the cores of the calling one."""
    cores = os.sched_getaffinity(0)
    # Twice: a thread that was not bound yet may have started another one in the meantime.
    for _ in range(2):
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread), cores)
