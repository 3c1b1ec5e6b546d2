"""What people see while many images are worked through, on standard error of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


@contextmanager
def image_progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for as long as the context lasts; call what it gives with the number of images done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("images", total=total)
        yield lambda done: bar.update(task, completed=done)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return images per second."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} img/s")
