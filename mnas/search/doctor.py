"""Is a run directory whole? What is wrong is named, and repaired if that loses nothing that can be read.

Nothing is repaired without a copy: the damaged database stays next to the repaired one.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnas.documents.errors import DocumentError, Error
from mnas.files import RunDirectoryError, locked_directory
from mnas.search.replay import replay
from mnas.search.rows import TRIAL_COLUMNS, call_of_row, trial_of_row
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE
from mnas.search.schema import SCHEMA, SCHEMA_VERSION, TABLE_OF_FINALISTS, TABLE_OF_SECOND_TRAININGS, StoreError
from mnas.search.store import TrialStore

_TABLES = ("meta", "trials", "controller_log", "controller_state", "sessions", "finalist_trainings", "second_trainings")
_MAX_SHOWN = 20


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a run.

    Attributes:
        what: What is wrong, for people.
        remedy: What `repair` does about it, or what people can do.
        repairable: Whether `repair` does something about it.
    """

    what: str
    remedy: str
    repairable: bool


def examine(directory: Path, *, replayed: bool = False) -> list[Finding]:
    """Return what is wrong with a run; nothing is changed, and it may be searched meanwhile.

    Args:
        directory: The run directory.
        replayed: Repeat every call of the controller, too, and compare proposals and state bit for bit.

    Raises:
        RunDirectoryError: There is no run.
    """
    database = directory / DATABASE
    if not database.is_file():
        raise RunDirectoryError(f"{directory}: no run of mnas; name the directory of a search")
    try:
        store = TrialStore(database)
    except StoreError as error:
        return [Finding(str(error), "the rows that can be read are copied into a new database", _is_damaged(error))]
    with closing(store):
        findings = [*_damaged_pages(store), *_damaged_rows(store), *_damaged_extra(store), *_damaged_log(store)]
        findings += _damaged_state(store, directory, replayed=replayed and not findings)
    return findings


def _is_damaged(error: StoreError) -> bool:
    return isinstance(error.__cause__, sqlite3.DatabaseError) and "malformed" in str(error)


def _damaged_pages(store: TrialStore) -> Iterator[Finding]:
    try:
        lines = [str(line) for (line,) in store.rows(f"PRAGMA integrity_check({_MAX_SHOWN})")]
    except StoreError as error:
        lines = [str(error)]
    for line in lines:
        if line != "ok":
            yield Finding(f"the database: {line}", "the rows that can be read are copied into a new database", True)


def _damaged_rows(store: TrialStore) -> Iterator[Finding]:
    columns = TRIAL_COLUMNS.split(", ")
    try:
        for row in store.iterate_rows(f"SELECT {TRIAL_COLUMNS} FROM trials ORDER BY id"):
            try:
                trial_of_row(row, f"trial {row[0]}")
            except DocumentError as error:
                fields = dict(zip(columns, row, strict=True)) | {"training": None, "latency": None}
                with suppress(DocumentError):
                    trial_of_row(tuple(fields.values()), "")
                    yield Finding(f"{error}", "the record that cannot be read is dropped, and made again", True)
                    continue
                yield Finding(f"{error}", "restore the run from a copy", False)
    except StoreError as error:
        yield Finding(f"the trials cannot all be read: {error}", "the rows that can be read are copied", True)


def _damaged_extra(store: TrialStore) -> Iterator[Finding]:
    for read in (store.finalist_trainings, store.second_trainings):
        try:
            read()
        except StoreError as error:
            yield Finding(f"{error}", "restore the run from a copy", False)


def _damaged_log(store: TrialStore) -> Iterator[Finding]:
    try:
        rows = store.rows("SELECT call, count, trials, rewards FROM controller_log ORDER BY step")
        known = {number for (number,) in store.rows("SELECT id FROM trials")}
        calls = [call_of_row(row, f"step {step} of the controller") for step, row in enumerate(rows, start=1)]
    except Error as error:
        yield Finding(f"the log of the controller: {error}", "restore the run from a copy", False)
        return
    asked = Counter(number for call in calls if call.call == "ask" for number in call.trial_ids)
    told = Counter(number for call in calls if call.call == "tell" for number in call.trial_ids)
    wrong = {
        "trials that were asked for are missing": asked.keys() - known,
        "trials were never asked for": known - asked.keys(),
        "trials were asked for twice": {number for number, times in asked.items() if times > 1},
        "trials were told twice": {number for number, times in told.items() if times > 1},
        "trials were told and not asked for": told.keys() - asked.keys(),
    }
    for what, numbers in wrong.items():
        if numbers:
            shown = ", ".join(map(str, sorted(numbers)[:_MAX_SHOWN]))
            yield Finding(f"{what}: {shown}", "the run can be read, but not gone on with: start a new one", False)


def _damaged_state(store: TrialStore, directory: Path, *, replayed: bool) -> Iterator[Finding]:
    rebuilt = "it is made again from the log of the controller's calls"
    try:
        state, calls = store.controller_state(), store.controller_log()
    except StoreError as error:
        yield Finding(f"{error}", rebuilt, True)
        return
    if calls and state is None:
        yield Finding("the controller's state is missing", rebuilt, True)
    elif replayed and calls:
        try:
            experiment = Run.open(directory).experiment
            replay(store, experiment.create_controller(experiment.load_space()))
        except Error as error:
            yield Finding(f"{error}", "another version of NumPy or another processor can be the cause", False)


def repair(directory: Path) -> list[Finding]:
    """Repair what can be repaired, and return what is still wrong. The damaged database is kept.

    Raises:
        RunDirectoryError: A search works on the run, or the directory cannot be written.
        StoreError: Nothing of the database can be read.
    """
    with locked_directory(directory, "mnas search"):
        database = directory / DATABASE
        if not any(finding.repairable for finding in examine(directory)):
            return examine(directory)
        kept = _keep(database)
        _salvage(kept, database)
        with closing(TrialStore(database, create=True)) as store:
            _rebuild_state(store, directory)
    return examine(directory)


def _keep(database: Path) -> Path:
    """Rename a damaged database and its write-ahead log; return its new path."""
    number = 1
    while (kept := database.with_name(f"{database.name}.damaged-{number}")).exists():
        number += 1
    for end in ("-wal", "-shm", ""):
        file = database.with_name(database.name + end)
        if file.exists():
            file.rename(kept.with_name(kept.name + end))
    return kept


def _salvage(damaged: Path, database: Path) -> None:
    """Copy every row that can be read into a new database, without the records of a trial that cannot."""
    draft = database.with_name(f".{database.name}.repaired")
    draft.unlink(missing_ok=True)
    columns = TRIAL_COLUMNS.split(", ")
    with closing(sqlite3.connect(damaged)) as source, closing(sqlite3.connect(draft, isolation_level=None)) as target:
        source.execute("PRAGMA trusted_schema = OFF")
        tables = f"{SCHEMA} {TABLE_OF_FINALISTS} {TABLE_OF_SECOND_TRAININGS}"
        target.executescript(f"BEGIN; {tables} PRAGMA user_version = {SCHEMA_VERSION};")
        for table in _TABLES:
            for row in _readable_rows(source, table):
                if table == "trials":
                    row = _without_damage(columns, row)
                marks = ", ".join("?" * len(row))
                with suppress(sqlite3.Error):
                    target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)
        target.execute("COMMIT")
    draft.rename(database)


def _readable_rows(source: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table from its start, and from its end if one in between cannot be read."""
    seen: set[int] = set()
    for order in ("", "DESC"):
        with suppress(sqlite3.Error, UnicodeDecodeError):
            for rowid, *row in source.execute(f"SELECT rowid, * FROM {table} NOT INDEXED ORDER BY rowid {order}"):
                if rowid not in seen:
                    seen.add(rowid)
                    yield tuple(row)


def _without_damage(columns: list[str], row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row of a trial without the records that cannot be read."""
    values = dict(zip(columns, row, strict=True))
    for half in ("training", "latency"):
        others = {name: None if name in ("training", "latency") and name != half else values[name] for name in columns}
        try:
            trial_of_row(tuple(others.values()), "")
        except DocumentError:
            values[half] = None
    return tuple(values.values())


def _rebuild_state(store: TrialStore, directory: Path) -> None:
    """Make the controller's state again if it cannot be read, by repeating the recorded calls."""
    with suppress(StoreError):
        state = store.controller_state()
        if state is not None or not store.controller_log():
            return
    experiment = Run.open(directory).experiment
    controller = experiment.create_controller(experiment.load_space())
    store.replace_controller_state({})
    replay(store, controller)
    store.replace_controller_state(controller.state())
