"""What people see while many things are worked through, on standard error: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from mnas.cli.duration import duration

LINE_EVERY_S = 10.0


@contextmanager
def counted_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a command is for as long as the context lasts.

    Args:
        what: What is counted, in the plural.
        total: How many there are.

    Yields:
        A function to call with the number of things done.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, what, total).update
        return
    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


class _Lines:
    """Prints a line every LINE_EVERY_S, and one at the end."""

    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console, self._what, self._total = console, what, total
        self._started = self._printed = time.monotonic()

    def update(self, done: int) -> None:
        now = time.monotonic()
        if done < self._total and now - self._printed < LINE_EVERY_S:
            return
        self._printed = now
        self._console.print(
            f"{self._what}: {done:,} of {self._total:,}, {duration(now - self._started)}", highlight=False, markup=False
        )


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return things per second."""
        return Text("" if task.speed is None else f"{task.speed:,.3g}/s")
