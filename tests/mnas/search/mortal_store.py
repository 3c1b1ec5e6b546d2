"""A store whose process is killed at a chosen write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnas.search.store import TrialStore


class KilledError(Exception):
    """Stands for SIGKILL: raised between two steps, after which nothing runs."""


class MortalStore(TrialStore):
    """A store whose process dies right before or right after its n-th write."""

    def __init__(self, path: Path, writes: int, *, after: bool) -> None:
        super().__init__(path, create=True)
        self._left = writes
        self._after = after

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise KilledError
        with super()._transaction() as connection:
            yield connection
        if self._left == 0:
            raise KilledError
