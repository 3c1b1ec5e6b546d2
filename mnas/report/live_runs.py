"""The data of the live page: runs below a folder, read from their stores while searches write them.

Nothing is locked and nothing is written. A run is read again when its database has changed, and at most so often that
reading takes `READING_SHARE` of the time, so that a large run does not take a core from the search. Trials that had
ended are not read again; what is told of them is kept for the `RUNS_KEPT` runs that were looked at last.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnas.errors import Error
from mnas.report.data import run_data
from mnas.report.facts import TrialFacts, read_facts
from mnas.report.page import embedded_json
from mnas.report.trials import trial_details
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE, read_store

READING_SHARE = 0.05
RUNS_KEPT = 24
STANDING = ("trials", "best accuracy", "latency (ms)", "reward")


@dataclass(frozen=True)
class RunVersion:
    """What a run was when it was read.

    Attributes:
        version: Another text for other data.
        experiment: Its experiment, as plain data.
        text: All of its data, as JSON.
    """

    version: str
    experiment: Mapping[str, Any]
    text: str


class LiveRun:
    """The data of one run, and when it is read again."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = directory.resolve().name if name == "." else name
        self._directory = directory
        self._lock = threading.Lock()
        self._facts: Sequence[TrialFacts] = ()
        self._known: RunVersion | None = None
        self._failure: Error | None = None
        self._next_s = 0.0

    def read(self) -> RunVersion:
        """Return the data of the run: new ones if it has changed and reading is due.

        Raises:
            Error: The run could not be read, when reading was due last.
        """
        with self._lock:
            version, now = stamp(self._directory), time.monotonic()
            if (self._known is None or version != self._known.version) and now >= self._next_s:
                try:
                    self._known, self._failure = self._read(version), None
                except Error as error:
                    self._failure = error
                self._next_s = time.monotonic() + (time.monotonic() - now) / READING_SHARE
            if self._failure is not None:
                raise self._failure
            assert self._known is not None  # the first reading is always due
            return self._known

    def _read(self, version: str) -> RunVersion:
        run = Run.open(self._directory)
        with _no_collections():
            with read_store(self._directory) as store:
                self._facts = read_facts(store, self._facts)
            data = run_data(run, self._facts) | {"details": {}}  # the page asks for those of one trial
            return RunVersion(version, data["experiment"], embedded_json(data))

    def trial(self, number: int) -> dict[str, Any]:
        """Return the details of one trial. Raises Error if there is none."""
        return trial_details(Run.open(self._directory).trial(number))


def stamp(directory: Path) -> str:
    """Return a text that is another one when a search has written to its run directory."""
    stamps = []
    for name in (DATABASE, f"{DATABASE}-wal"):
        try:
            found = (directory / name).stat()
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
        self._standings: dict[str, tuple[str, tuple[str, ...]]] = {}  # with the stamp of each

    def names(self) -> list[str]:
        """Return the paths of the runs, found again at each call; the folder itself is `.`."""
        found = sorted(path.parent for path in self._folder.rglob(DATABASE))
        return [path.relative_to(self._folder).as_posix() for path in found]

    def standing(self, name: str) -> tuple[str, ...]:
        """Return the columns `STANDING` of one of `names`, or in the first of them why the run cannot be read."""
        version = stamp(self._folder / name)
        known, columns = self._standings.get(name, ("", ()))
        if known != version:
            columns = self._read_standing(name)
            self._standings[name] = version, columns
        return columns

    def _read_standing(self, name: str) -> tuple[str, ...]:
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
            found = self._runs[name] = found or LiveRun(self._folder / name, name)
            while len(self._runs) > RUNS_KEPT:
                self._runs.pop(next(iter(self._runs)))
            return found
