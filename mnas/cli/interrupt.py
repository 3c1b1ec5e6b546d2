"""Signals that stop a long command."""

from __future__ import annotations

import signal


def terminate_as_interrupt() -> None:
    """Let a stop by `kill`, a batch system or a terminal that is closed end this process as cleanly as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` asks for
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
