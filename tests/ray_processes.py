"""Processes of Ray, as the tests look for them."""

from __future__ import annotations

from contextlib import suppress

import psutil


def processes_named(name: str, *, below: int | None = None) -> list[psutil.Process]:
    """Return the processes with that in their name below a process, by default this one.

    A process that ends while it is looked at is left out.
    """
    found = []
    for child in psutil.Process(below).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in child.name():
                found.append(child)
    return found
