"""Signals that stop a long command."""

from __future__ import annotations

import signal


def terminate_as_interrupt() -> None:
    """Let a stop by `kill` or a batch system end this process as cleanly as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
