"""The lock of a run directory: one process at a time writes there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnas.errors import MnasError

LOCK_FILE = "lock"


class RunDirectoryError(MnasError):
    """A run directory that cannot be used as asked."""


@contextmanager
def locked_directory(directory: Path, work: str) -> Iterator[None]:
    """Make a run directory where it is new, and hold its lock; `work` names who holds it, as in "mnas search".

    Raises RunDirectoryError where the directory cannot be made or written, or another process works on it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(
            f"{directory}: cannot make the run directory ({error.strerror}); choose another with --run-dir"
        ) from error
    # The lock belongs to the open file, so it goes with the process however that ends.
    try:
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunDirectoryError(
            f"{directory}: cannot write there ({error.strerror}); make it writable or choose another with --run-dir"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunDirectoryError(
                f"{directory}: another {work} is working on this run; wait for it or stop it"
            ) from error
        yield
    finally:
        os.close(lock)
