"""Files of a run: written whole, locked by one process, and recognised by their content."""

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

LOCK_FILE = "lock"


class RunDirectoryError(Error):
    """A run directory cannot be used as asked."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file, so that a crash at any moment leaves the old content or the new one.

    One process at a time may write a path.

    Raises:
        OSError: the file cannot be written.
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
        os.fsync(directory)  # the new name must survive a crash, too
    finally:
        os.close(directory)


def fingerprint_of(*parts: bytes | str | npt.NDArray[np.generic]) -> str:
    """Return the SHA-256 (hex) of the parts.

    Each part counts with its length, or its type and shape, so that a part cannot run into the next one.
    """
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


@contextmanager
def locked_directory(directory: Path, work: str) -> Iterator[None]:
    """Create a run directory if it is new, and hold its lock.

    Args:
        directory: the run directory.
        work: the command that holds the lock, for the message to other processes: "mnas search".

    Raises:
        RunDirectoryError: the directory cannot be created or written, or another process holds the lock.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(
            f"{directory}: cannot create the run directory ({error.strerror}); choose another with --run-dir"
        ) from error
    # The kernel releases the lock when the process ends, however it ends.
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
