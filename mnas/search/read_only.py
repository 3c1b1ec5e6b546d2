"""Reading the database of a run whose folder may not be written: a colleague's, or one on a read-only disk.

SQLite reads a database with a write-ahead log by means of files that it makes next to it. Where it cannot make them,
a private copy is read, also while another process searches.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

_TRIES = 20


class UnsteadyError(Exception):
    """A database changes too often to be copied."""


def uri_of(database: Path) -> str:
    """Return the URI of a file for SQLite; its name need not be UTF-8."""
    return f"file:{quote(os.fsencode(database.absolute()))}"


@contextmanager
def uri_for_reading(database: Path) -> Iterator[str]:
    """Yield the URI by which SQLite may read a database for as long as the context lasts.

    Raises:
        UnsteadyError: The database changed during each of several copies.
        OSError: It cannot be copied.
    """
    log = _log(database)
    if all(os.access(path, os.W_OK) for path in (database.parent, database, *([log] if log.exists() else []))):
        yield f"{uri_of(database)}?mode=rw"
    elif not log.exists():  # nothing is being written
        yield f"{uri_of(database)}?immutable=1"
    else:
        with tempfile.TemporaryDirectory(prefix="mnas-run-") as folder:
            copy = Path(folder, database.name)
            _copy(database, copy)
            yield f"{uri_of(copy)}?mode=rw"


def _copy(database: Path, copy: Path) -> None:
    """Copy a database with its log, also while another process writes."""
    for _ in range(_TRIES):
        before = _state(database)
        shutil.copyfile(database, copy)
        try:
            shutil.copyfile(_log(database), _log(copy))
        except FileNotFoundError:  # the search has just ended and put all of its log into the database
            _log(copy).unlink(missing_ok=True)
        # Parts of the log go into the database now and then. A log that grows meanwhile does no harm: SQLite reads it
        # up to its last complete transaction.
        if _state(database) == before:
            return
    raise UnsteadyError


def _log(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def _state(database: Path) -> tuple[int, int, int]:
    facts = database.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
