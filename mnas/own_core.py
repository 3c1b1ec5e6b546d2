"""A core of this machine for each worker, so that none is slowed down by another's threads.

MindSpore's runtime keeps a thread that waits by yielding (`sched_yield`) instead of sleeping. On its worker's core it
yields to the thread that computes; free to move, it takes the time of another worker.
"""

from __future__ import annotations

import os
import socket


def take_core(owners: str = "mnas workers") -> socket.socket | None:
    """Bind this thread, and those that it will start, to a core that none of `owners` on this machine has taken.

    The core is taken until the returned socket is closed or the process ends, however it ends. None, and nothing is
    bound, where every core that this thread may use is taken.
    """
    for core in sorted(os.sched_getaffinity(0)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            # A name in Linux's abstract space: one process has it, no file stays behind, and it ends with its process.
            claim.bind(f"\0{owners}/core {core}")
        except OSError:
            claim.close()
            continue
        os.sched_setaffinity(0, {core})
        return claim
    return None
