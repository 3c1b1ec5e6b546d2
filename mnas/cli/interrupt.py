"""Signals that stop a long command."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from mnas.signals import STOP_SIGNALS, Stopped

# After so many signals, and so long after the first one, a command that does not end is ended at once.
INSISTENT_SIGNALS, CLOSING_PATIENCE_S = 3, 5.0


def stop_cleanly() -> None:
    """Let Ctrl-C, `kill`, a batch system and a closed terminal end this process in the same, clean way.

    The first signal raises `Stopped`. What follows does not disturb the closing; a third one ends a process that is
    still there after `CLOSING_PATIENCE_S`. A signal that is ignored already (`nohup`) stays ignored.
    """
    handler = _Handler()
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


class _Handler:
    def __init__(self) -> None:
        self._stops = 0
        self._first_s = 0.0
        self._terminals = [descriptor for descriptor in (1, 2) if _is_terminal(descriptor)]

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._leave_terminal()
        self._stops += 1
        if self._stops == 1:
            self._first_s = time.monotonic()
            raise Stopped(number)
        if self._stops >= INSISTENT_SIGNALS and time.monotonic() - self._first_s >= CLOSING_PATIENCE_S:
            os._exit(128 + number)

    def _leave_terminal(self) -> None:
        """Write to nowhere what would go to the terminal, which is gone: every write would fail."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in self._terminals:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
