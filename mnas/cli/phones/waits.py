"""What a `mnas phones` command waits for.

It is said on standard error when it takes more than two seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mnas.documents.foreign_text import printable

SILENCE_S = 2.0


class Waits:
    """One wait after another: each is shown once it has taken `SILENCE_S`.

    On a terminal it is a line with a spinner that disappears when the wait is over; elsewhere it is a line that stays.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._spinner: Progress | None = None

    def begin(self, what: str) -> None:
        """Begin to wait for something; the earlier wait is over."""
        self.over()
        timer = threading.Timer(SILENCE_S, self._show, (what, time.monotonic()))
        timer.daemon = True
        with self._lock:
            self._timer = timer
            timer.start()

    def over(self) -> None:
        """End the wait, so that the command can print."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._spinner is not None:
                self._spinner.stop()
                self._spinner = None

    def _show(self, what: str, began: float) -> None:
        with self._lock:
            if self._timer is not threading.current_thread():
                return  # It was over just now.
            if not self.console.is_terminal:
                self.say(f"mnas: {what}")
                return
            # The streams stay as they are: standard output may be a file.
            self._spinner = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            task = self._spinner.add_task(printable(what), total=None)
            self._spinner.tasks[task].start_time = began
            self._spinner.start()

    def say(self, line: str) -> None:
        """Print a line on standard error that stays."""
        self.console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


class _Said(logging.Handler):
    """Shows what the measurement logs.

    A phone in use, a hot one, another try after a failure.
    """

    def __init__(self, waits: Waits) -> None:
        super().__init__(logging.INFO)
        self._waits = waits

    def emit(self, record: logging.LogRecord) -> None:
        self._waits.say(f"mnas: {record.getMessage()}")


@contextmanager
def said_waits() -> Iterator[Waits]:
    """Show waits for as long as the context lasts.

    What the measurement itself waits for is shown too.
    """
    waits = Waits(Console(stderr=True))
    log, handler = logging.getLogger("latency"), _Said(waits)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield waits
    finally:
        waits.over()
        log.removeHandler(handler)
        log.setLevel(level)
