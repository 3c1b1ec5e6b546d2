"""The time that each phase of a task takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LEARNING_CURVE = "learning_curve"
"""The phase in which a child is evaluated after its epochs, between them."""


@dataclass(frozen=True)
class PhaseTime:
    """The time of one phase.

    Attributes:
        wall_s: Wall time in seconds.
        cpu_s: CPU time of the whole process (all its threads) in seconds.
    """

    wall_s: float
    cpu_s: float


@contextmanager
def timed(phases: dict[str, PhaseTime], name: str) -> Iterator[None]:
    """Add the time of the body of a `with` statement to `phases[name]`; nothing if the body raises."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    before = phases.get(name, PhaseTime(0.0, 0.0))
    phases[name] = PhaseTime(
        wall_s=before.wall_s + time.perf_counter() - wall, cpu_s=before.cpu_s + time.process_time() - cpu
    )
