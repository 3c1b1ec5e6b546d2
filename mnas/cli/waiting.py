"""What people see during a long step without progress of its own, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from mnas.documents.foreign_text import printable


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Say what a command waits for: a spinner on a terminal, one line elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(printable(what)):
            yield
    else:
        console.print(f"mnas: {printable(what)}", highlight=False, markup=False, soft_wrap=True)
        yield
