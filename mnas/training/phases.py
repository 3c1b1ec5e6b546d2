"""What each phase of a piece of work cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class PhaseTime:
    """Wall time, and CPU time of the whole process (all its threads), in seconds."""

    wall_s: float
    cpu_s: float


@contextmanager
def timed(phases: dict[str, PhaseTime], name: str) -> Iterator[None]:
    """Store under `name` what the body of the `with` statement costs; a body that raises stores nothing."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    phases[name] = PhaseTime(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)
