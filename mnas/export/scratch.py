"""The scratch folder of an export: private, next to the folder that is written, and tidied up after a kill."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mnas.documents.file_systems import file_system_of, lacks_locks
from mnas.files import exchange_folders

# In the scratch folder: the folder that is written, and the one that it replaces.
NEW, OLD = "new", "old"


def put_in_place(scratch: Path, folder: Path) -> None:
    """Move `scratch / NEW` to its place, in exchange for a folder that is there.

    Raises:
        OSError: It cannot be moved; what was there is in its place.
    """
    if folder.exists():
        exchange_folders(scratch / NEW, folder, scratch / OLD)
    else:
        os.rename(scratch / NEW, folder)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a private folder next to `folder`, locked while this process lives; remove those that a kill has left."""
    _tidy_up(folder)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch, _locked(Path(scratch)):
        yield Path(scratch)


@contextmanager
def _locked(scratch: Path) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The file system has no locks.
    """
    file = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not lacks_locks(error):
                raise
            reason = f"{error.strerror}: its file system ({file_system_of(scratch)}) has no locks"
            raise OSError(error.errno, reason) from error
        yield
    finally:
        os.close(file)


def _tidy_up(folder: Path) -> None:
    """Remove what killed exports to `folder` have left, and put an old folder back that was on its way aside."""
    ours = re.compile(rf"\.{re.escape(folder.name)}-[a-z0-9_]{{8}}")
    for name in sorted(os.listdir(folder.parent)):
        left = folder.parent / name
        if not ours.fullmatch(name) or left.is_symlink() or not left.is_dir():
            continue
        # What another user or a living export has there stays.
        with suppress(PermissionError, BlockingIOError, FileNotFoundError), _locked(left):
            if set(os.listdir(left)) <= {NEW, OLD} and left.stat().st_uid == os.geteuid():
                if (left / OLD).is_dir() and not folder.exists():
                    os.rename(left / OLD, folder)
                shutil.rmtree(left)
