"""Processes of Ray's actors, as the tests look for them."""

from __future__ import annotations

from contextlib import suppress

import psutil


def actor_processes(name: str) -> list[psutil.Process]:
    """The processes of actors of that class under this one; a process may end while it is looked at."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in child.name():
                found.append(child)
    return found
