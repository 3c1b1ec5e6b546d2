"""Files of a run: written whole, locked by one process, and recognised by their content.

Another user, or the author of a run directory that was passed on, may have put symbolic links there. Nothing here
follows one: drafts have unpredictable names and are made new, and files that are appended to must be files.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from mnas.documents.file_systems import file_system_of, lacks_locks
from mnas.errors import Error

LOCK_FILE = "lock"
_RENAME_EXCHANGE = 2  # of linux/fs.h


class RunDirectoryError(Error):
    """A run directory cannot be used as asked."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file, so that a crash at any moment leaves the old content or the new one.

    One process at a time may write a path. Drafts that a killed process has left are removed. A symbolic link at the
    path is replaced, not followed.

    Raises:
        OSError: the file cannot be written.
    """
    _remove_drafts(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with errors_named(path), open(draft, "xb", opener=_no_links) as file:
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


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Give errors of writing a file its name, so that people learn which disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def make_folder(path: Path) -> None:
    """Make a folder of a run if it is new.

    Raises:
        RunDirectoryError: Something else is in its place, such as a link to a folder elsewhere.
        OSError: It cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(parents=True)
    if path.is_symlink() or not path.is_dir():
        raise RunDirectoryError(f"{path}: is no folder of this run but a link or a file; remove it")


def _remove_drafts(path: Path) -> None:
    # The first form is that of mnas up to 0.2.
    ours = re.compile(rf"\.{re.escape(path.name)}(\.[0-9a-f]{{16}})?\.partial")
    for name in os.listdir(path.parent):
        if ours.fullmatch(name):
            with suppress(IsADirectoryError, PermissionError, FileNotFoundError):
                (path.parent / name).unlink()


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def open_for_append(path: Path) -> TextIO:
    """Open a text file (UTF-8, line ends as written) to append to it; it is made if it does not exist.

    Raises:
        RunDirectoryError: It cannot be opened, or is a symbolic link, a folder or a pipe.
    """

    def opener(name: str, flags: int) -> int:
        file = _no_links(name, flags | os.O_NONBLOCK)  # opening a pipe would wait for its reader
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise RunDirectoryError(f"{path}: is no regular file; remove it")
        return file

    try:
        return open(path, "a", encoding="utf-8", newline="", opener=opener)
    except OSError as error:
        raise RunDirectoryError(
            f"{path}: cannot be appended to ({_reason(error)}); remove it or make it writable"
        ) from error


def _reason(error: OSError) -> str:
    return "it is a symbolic link" if error.errno == errno.ELOOP else f"{error.strerror}"


def exchange_folders(new: Path, old: Path, aside: Path) -> None:
    """Put the folder `new` in the place of `old`, which is then at `new` or at `aside`.

    In one step if the file system can exchange two names (Linux's renameat2, most local file systems). Otherwise by two
    renames, between which `old` does not exist.

    Raises:
        OSError: The folders cannot be renamed; `old` is then in its place.
    """
    if _exchanged(new, old):
        return
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except BaseException:
        os.rename(aside, old)
        raise


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names by renameat2; return False if the C library or the file system has no such call."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    # AT_FDCWD: relative paths are relative to the working directory.
    if rename(-100, os.fsencode(one), -100, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


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
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise RunDirectoryError(
            f"{directory}: cannot write there ({LOCK_FILE}: {_reason(error)}); make it writable or choose another with "
            "--run-dir"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if lacks_locks(error):
                raise RunDirectoryError(
                    f"{directory}: its file system ({file_system_of(directory)}) has no locks ({error.strerror}), so "
                    "two processes could write there at once; choose a folder on another one with --run-dir"
                ) from error
            raise RunDirectoryError(
                f"{directory}: another {work} is working on this run; wait for it or stop it"
            ) from error
        yield
    finally:
        os.close(lock)


def is_locked(directory: Path) -> bool:
    """Return whether a process of this machine holds the lock of a run directory; takes no lock itself."""
    try:
        inode = (directory / LOCK_FILE).stat(follow_symlinks=False).st_ino
        # A line is "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; the device is another one on overlays.
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    locks = [fields for fields in map(str.split, lines) if len(fields) > 5]
    return any(fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") for fields in locks)
