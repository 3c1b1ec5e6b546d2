"""The data of the live page: runs below a folder, read from their stores while searches write them.

Nothing is locked and nothing is written. A run is read again when its database has changed, and at most so often that
reading takes `READING_SHARE` of the time, so that a large run does not take a core from the search. Trials that had
ended are not read again; they are kept for the `RUNS_KEPT` runs that were looked at last.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mnas.errors import Error
from mnas.report.data import report_of, run_data
from mnas.report.trials import trial_details
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE, read_store
from mnas.search.store import Trial

READING_SHARE = 0.05
RUNS_KEPT = 4
STANDING = ("trials", "best accuracy", "latency (ms)", "reward")


class LiveRun:
    """The data of one run, and when it is read again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._version: str | None = None
        self._data: Mapping[str, Any] = {}
        self._trials: Sequence[Trial] = ()
        self._next_s = 0.0

    def data(self) -> tuple[str, Mapping[str, Any]]:
        """Return the version of the data, and the data: new ones if the run has changed and reading is due.

        Raises:
            Error: The run cannot be read.
        """
        with self._lock:
            version, now = self._stamp(), time.monotonic()
            if self._version is None or (version != self._version and now >= self._next_s):
                self._data = self._read()
                self._next_s = time.monotonic() + (time.monotonic() - now) / READING_SHARE
                self._version = version
            return self._version, self._data

    def _read(self) -> dict[str, Any]:
        run = Run.open(self._directory)
        with _no_collections():
            with read_store(self._directory) as store:
                self._trials = store.trials_again(self._trials)
            return report_of([run_data(run, self._trials)], [run])

    def trial(self, number: int) -> dict[str, Any]:
        """Return the details of one trial. Raises Error if there is none."""
        return trial_details(Run.open(self._directory).trial(number))

    def _stamp(self) -> str:
        stamps = []
        for name in (DATABASE, f"{DATABASE}-wal"):
            try:
                found = (self._directory / name).stat()
                stamps.append(f"{found.st_mtime_ns:x}.{found.st_size:x}")
            except OSError:
                stamps.append("0")
        return "-".join(stamps)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep Python from looking for cycles, which trials do not have: of 10,000 it looks through millions of objects."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class LiveFolder:
    """The runs below a folder, by their paths in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._runs: dict[str, LiveRun] = {}  # the one that was looked at last is at the end

    def names(self) -> list[str]:
        """Return the paths of the runs, found again at each call; the folder itself is `.`."""
        found = sorted(path.parent for path in self._folder.rglob(DATABASE))
        return [path.relative_to(self._folder).as_posix() for path in found]

    def standing(self, name: str) -> tuple[str, ...]:
        """Return the columns `STANDING` of one of `names`, or in the first of them why the run cannot be read."""
        try:
            run = Run.open(self._folder / name)
            counts, best = run.counts(), run.best_trials(1)
        except Error as error:
            return (str(error),)
        ended = f"{counts['complete']} complete, {counts['failed']} failed, of {run.experiment.search.trials}"
        numbers = [number for one in best for number in (one.accuracy, one.latency_ms, one.reward)]
        return (ended, *("" if number is None else f"{number:.4f}" for number in numbers))

    def run(self, name: str) -> LiveRun | None:
        """Return a run; None unless it is one of `names`."""
        with self._lock:
            found = self._runs.pop(name, None)
            if found is None and name not in self.names():
                return None
            found = self._runs[name] = found or LiveRun(self._folder / name)
            while len(self._runs) > RUNS_KEPT:
                self._runs.pop(next(iter(self._runs)))
            return found
