"""Signals that stop a process, and steps that they must not cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop; it ends as after Ctrl-C.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code that shells give a process that the signal ended."""
        return 128 + self.number


class HeldSignals:
    """Signals that wait until a step has ended.

    Attributes:
        arrived: Those that have come; others may add to them.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self.arrived: list[int] = []
        self._numbers = list(numbers)

    def hold(self) -> None:
        """Install the handlers, also again after something else has replaced them."""
        for number in self._numbers:
            signal.signal(number, lambda came, _: self.arrived.append(came))


@contextmanager
def signals_held_back() -> Iterator[HeldSignals]:
    """Hold back the signals that stop this process; the first of them is handled when the context ends.

    The handlers of before are installed again at the end, whatever was installed meanwhile. Signals that the process
    ignores stay ignored. Outside the main thread, which alone handles signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield HeldSignals(())
        return
    # None is a handler that was not installed by Python and could not be installed again.
    before = {number: handler for number in STOP_SIGNALS if (handler := signal.getsignal(number)) is not None}
    held = HeldSignals(number for number, handler in before.items() if handler is not signal.SIG_IGN)
    held.hold()
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held.arrived:
            signal.raise_signal(signal.Signals(held.arrived[0]))
