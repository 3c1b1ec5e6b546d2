"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnas.errors import Error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file: a reader, and the disk after a crash, has the old content or the whole new one.

    One process at a time may write a path. Raises OSError where it cannot be written.
    """
    draft = path.with_name(f".{path.name}.partial")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the new name, too, must survive a crash
    finally:
        os.close(directory)


def fingerprint_of(*parts: bytes | str | npt.NDArray[np.generic]) -> str:
    """SHA-256 (hex) over the parts, each with its length or type and shape, so that none run together."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str} {part.shape}\n".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            data = part.encode() if isinstance(part, str) else part
            digest.update(f"{len(data)}\n".encode())
            digest.update(data)
    return digest.hexdigest()


LOCK_FILE = "lock"


class RunDirectoryError(Error):
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
