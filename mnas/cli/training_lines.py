"""The lines that a full training prints above its bar, on standard error."""

from __future__ import annotations

import time

from rich.console import Console

from mnas.cli.duration import duration
from mnas.documents.foreign_text import printable

LINE_EVERY_S = 60.0


class TrainingLines:
    """Prints lines; without a terminal, which has no bar, one is due every LINE_EVERY_S at least."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._printed = time.monotonic()

    @property
    def elapsed(self) -> str:
        """The time since the first line could be printed."""
        return duration(time.monotonic() - self._started)

    @property
    def is_due(self) -> bool:
        """Whether a line must say how far the training is."""
        return not self._console.is_terminal and time.monotonic() - self._printed >= LINE_EVERY_S

    def print(self, text: str) -> None:
        """Print a line."""
        self._printed = time.monotonic()
        self._console.print(printable(text), highlight=False, markup=False, soft_wrap=True)
