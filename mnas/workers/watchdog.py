"""Finds the workers whose process stands still (SIGSTOP, a debugger): without it they would until their time-out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mnas.workers.worker import process_use

Place = tuple[str, int]
"""Ray's node, and a process there."""


class Watchdog:
    """Looks at the processes of the workers now and then.

    A process is taken for stopped if it is so at two looks in a row, and at each of them for seconds: a quiet window
    of a latency measurement stops it for a moment, too.
    """

    def __init__(self, here: str) -> None:
        """Look for the first time when `look` is called; `here` is the node of this process."""
        self._here = here
        self._asked: dict[str, Any] = {}
        self._stopped_before: set[Place] = set()

    def look(self, places: Iterable[Place]) -> set[Place]:
        """Return those that stand still. Other nodes answer by the next look."""
        pids: defaultdict[str, list[int]] = defaultdict(list)
        for node, pid in places:
            pids[node].append(pid)
        stopped = {(self._here, pid) for pid in stopped_processes(pids.pop(self._here, []))}
        for node, reference in self._asked.items():
            with suppress(RayError):  # no answer yet, or the node has left
                stopped |= {(node, pid) for pid in ray.get(reference, timeout=0)}
        self._asked = {node: _ask(node, its) for node, its in pids.items()}
        again = stopped & self._stopped_before
        self._stopped_before = stopped
        return again


def stopped_processes(pids: Sequence[int]) -> list[int]:
    """Return those of the processes of this machine that stand still; runs on a node."""
    return [pid for pid in pids if (use := process_use(pid)) is not None and use.stopped]


def _ask(node: str, pids: list[int]) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(stopped_processes).remote(pids)
