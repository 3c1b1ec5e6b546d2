"""Quiet windows: pause other processes while something is timed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from latency.errors import ToolError
from latency.host.line_process import LineProcess, ProcessEndedError
from latency.host.pause_guard import EFFECT_TIMEOUT_S, start_ticks

ANSWER_TIMEOUT_S = EFFECT_TIMEOUT_S + 5.0


class ProcessPauser:
    """Stops processes for the length of a `with` block.

    They are stopped by SIGSTOP and continued by SIGCONT.

    The signals come from a small guard process, which also lets everything go on when this process is killed and when a
    window lasts longer than `limit_s`. Only if this process and its guard are both killed inside one window do the
    stopped processes stay stopped. One window at a time; threads take turns.

    Raises:
        ValueError: The limit is not positive.
    """

    def __init__(self, limit_s: float = 10.0) -> None:
        if not limit_s > 0:
            raise ValueError(f"limit_s is {limit_s!r}; it must be above 0")
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._guard: LineProcess | None = None
        self._paused_s = 0.0

    @property
    def guard_pid(self) -> int | None:
        """Process id of the guard; None if there is none."""
        return None if self._guard is None else self._guard.pid

    @property
    def paused_s(self) -> float:
        """Length of all windows so far, in seconds.

        It is what measuring has cost the paused work.
        """
        return self._paused_s

    @contextmanager
    def window(self, pids: Callable[[], Iterable[int]]) -> Iterator[None]:
        """Stop the processes that `pids()` names now.

        All their threads have stopped when the block begins.

        A process that is gone is skipped; so is one that was stopped before.

        Args:
            pids: Returns the ids of processes that live now. A process that gets such an id after that call is never
                touched.

        Raises:
            ToolError: `pause_failed`: something cannot be stopped, or the guard is lost. `pause_expired`: the block
                lasted longer than `limit_s`, so what was timed in it was not quiet; raised after the block.
            ValueError: This process is among them.
        """
        with self._lock:
            starts = {pid: start for pid in pids() if (start := start_ticks(pid)) is not None}
            if os.getpid() in starts:
                raise ValueError(f"process {os.getpid()} cannot pause itself; leave it out of the pids")
            targets = " ".join(f"{pid}:{start}" for pid, start in starts.items())
            try:
                answer = self._ask(f"stop {self._limit_s} {targets}")
                if not answer.startswith("stopped"):
                    raise ToolError("pause_failed", f"quiet window: {answer}")
                yield
                answer = self._ask("resume")
            except BaseException:
                # Ending the guard makes it let everything go on; once more from here in case it could not.
                self._end_guard()
                for pid, start in starts.items():
                    if start_ticks(pid) == start:
                        os.kill(pid, signal.SIGCONT)
                raise
            _, paused_s, expired = answer.split()
            self._paused_s += float(paused_s)
        if expired == "1":
            raise ToolError(
                "pause_expired",
                f"quiet window: it lasted longer than its limit of {self._limit_s:g} s, and the paused processes went "
                "on; raise limit_s or lower the measurement's window_budget_ms",
            )

    def close(self) -> None:
        """End the guard; a later window starts another one."""
        with self._lock:
            self._end_guard()

    def _ask(self, line: str) -> str:
        if self._guard is None:
            script = Path(__file__).with_name("pause_guard.py")
            self._guard = LineProcess([sys.executable, "-I", "-S", str(script)])
        try:
            return self._guard.ask(line, ANSWER_TIMEOUT_S)
        except (ProcessEndedError, TimeoutError) as error:
            raise ToolError("pause_failed", f"quiet window: the guard is lost: {error}; try again") from error

    def _end_guard(self) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None


Quiet = Callable[[], AbstractContextManager[None]]
"""Makes a context in which other work on this machine is paused."""
