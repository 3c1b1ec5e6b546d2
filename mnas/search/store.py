"""The trial store: everything that a search has learnt, in one SQLite file, committed before the next step.

A trial is a small state machine: proposed -> complete | stopped | failed. Its two halves (training, latency) are
recorded as they come. Proposals are committed together with the state of the controller that made them, and outcomes
together with the state of the controller that was told them. So a process killed at any moment loses no finished work
and repeats none, and the controller that resumes is exactly the one that was stopped. `controller_log` holds every ask
and tell in order, which is enough to replay a search with a new controller. Of the controller's state only what has
changed is written (`mnas.search.controller_state`).

A failed trial whose network is not to blame goes back to proposed when the search is resumed (`give_back`). The
controller was told nothing of it, so the controller's state and log stay as they are.

The file may come from elsewhere, so every row is checked when it is read. Numbers are finite: in a record of a training
or a measurement, NaN and infinite numbers are stored as null, and those that mnas up to 0.2 stored read as None. A
record whose accuracy or latency is such a number counts as not recorded, and that half of the trial is done again.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from controllers import ControllerError, state_from_bytes
from controllers.controller import StateValue
from mnas.documents.check import convert
from mnas.documents.file_systems import file_system_of
from mnas.documents.json_text import dump_json
from mnas.errors import DocumentError, FailureKind
from mnas.search.controller_state import StatePart, StateRecorder, state_of_parts
from mnas.search.read_only import UnsteadyError, uri_for_reading, uri_of
from mnas.search.rows import (
    FINALIST_COLUMNS,
    TRIAL_COLUMNS,
    call_of_row,
    finalist_training_of_row,
    second_training_of_row,
    trial_of_row,
)
from mnas.search.schema import (
    SCHEMA_VERSION,
    TABLE_OF_FINALISTS,
    TABLE_OF_SECOND_TRAININGS,
    StoreError,
    check_schema,
    create_tables,
    migrate,
    write_parts,
)
from mnas.search.trial import ControllerCall, FinalistTraining, Outcome, Proposal, Told, Trial, TrialState

__all__ = [
    "SCHEMA_VERSION",
    "ControllerCall",
    "Outcome",
    "Proposal",
    "StoreError",
    "Told",
    "Trial",
    "TrialState",
    "TrialStore",
    "UnstorableError",
]

_T = TypeVar("_T")
_ROWS_AT_A_TIME = 200


class UnstorableError(ValueError):
    """A record holds something that JSON cannot hold."""


def record_text(record: Mapping[str, Any]) -> str:
    """Return a record of a training or a measurement as JSON. Raises UnstorableError if JSON cannot hold it."""
    try:
        return dump_json(dict(record))
    except (TypeError, ValueError, RecursionError) as error:
        raise UnstorableError(str(error)) from error


class TrialStore:
    """The SQLite file of one run. One process writes; others may read at any time.

    Every method that writes is one transaction, on disk (fsync) when it returns. Every method raises StoreError if the
    file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        durable: bool = True,
        shared: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        """Open the store at `path`.

        Args:
            path: The SQLite file.
            create: Make the file if it is new, bring one of an older version up to date, and allow writing. Otherwise
                the store is for reading, and a file of an older version is read as it is.
            durable: Wait until the disk has what is written. A simulation does not.
            shared: The file is on storage of several machines: a rollback journal takes the place of the write-ahead
                log, which shares memory between readers and writer. Readers and the writer then wait for each other.
            now: The clock of the times that are stored.
        """
        self.path = path
        self._create = create
        self._durable = durable
        self._shared = shared
        self._clock = now
        self._state = StateRecorder()
        if not create and not path.is_file():
            raise StoreError(f"{path}: no such run database; name the directory of a run that has been started")
        with self._explained(), ExitStack() as stack:
            uri = f"{uri_of(path)}?mode=rwc" if create else stack.enter_context(_uri_for_reading(path))
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
            stack.callback(self._connection.close)
            self._prepare(create)
            self._files = stack.pop_all()

    def _prepare(self, create: bool) -> None:
        connection = self._connection
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not 0 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: written with schema version {version}, this mnas reads versions up to {SCHEMA_VERSION}; "
                "use the mnas that made it"
            )
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables:
            raise StoreError(f"{self.path}: an SQLite file, but not one of mnas; choose another run directory")
        if version == 0 and not create:
            raise StoreError(f"{self.path}: the run has not begun yet; start it with `mnas search`")
        connection.execute("PRAGMA trusted_schema = OFF")
        if version:
            check_schema(connection, self.path, version)
        connection.execute(f"PRAGMA query_only = {'OFF' if create else 'ON'}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        if create:
            self._set_journal()
        if create and version == 0:
            create_tables(connection)
        elif create and version < SCHEMA_VERSION:
            migrate(connection, self.path)
        if create:
            connection.execute(TABLE_OF_FINALISTS)
        connection.execute("PRAGMA foreign_keys = ON")
        self._version = SCHEMA_VERSION if create else version

    def _set_journal(self) -> None:
        wanted = "delete" if self._shared else "wal"
        (journal,) = self._connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
        if journal != wanted:
            raise StoreError(
                f"{self.path}: its journal cannot be made {wanted!r}, which this file system needs; close what reads "
                "the run, and try again"
            )

    def copy_to(self, path: Path) -> None:
        """Write the store as it is at this moment into a new file; the search that writes it is not held up."""
        with self._explained(), closing(sqlite3.connect(path)) as target:
            self._connection.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Close the file."""
        self._files.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the second if a damaged schema holds no UTF-8
            raise StoreError(f"{self.path}: {error}; {self._remedy(error)}") from error

    def _remedy(self, error: Exception) -> str:
        text = str(error)
        elsewhere = ", or choose another with --run-dir" if self._create else ""
        if "full" in text:
            return "free some space and run the same command again: nothing recorded is lost"
        if "readonly" in text or "unable to open" in text:
            if not self._create:
                return "make it readable"
            return "make the run directory writable, or choose another with --run-dir"
        if "not a database" in text or "malformed" in text:
            return f"the file is damaged or no database: restore it from a copy{elsewhere}"
        if "locking protocol" in text:
            return (
                f"its file system ({file_system_of(self.path)}) has no locks that work; put the run on another one"
                f"{' with --run-dir' if self._create else ''}"
            )
        if "locked" in text:
            return "another process is writing to this run; wait for it or stop it"
        return f"run the same command again; if this stays, check the disk{elsewhere}"

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction of all that is written in the context."""
        with self._transaction():
            yield

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        is_part_of_another = self._connection.in_transaction
        if is_part_of_another:
            yield self._connection
            return
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._state.forget()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def write(self, statement: str, values: Sequence[object] = ()) -> None:
        """Carry out one statement that writes."""
        with self._transaction() as connection:
            connection.execute(statement, values)

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, unchecked."""
        with self._explained():
            return self._connection.execute(query, values).fetchall()

    def iterate_rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, unchecked, without holding more than one; nothing may be written meanwhile."""
        with self._explained():
            yield from self._connection.execute(query)

    def now(self) -> str:
        """Return the time as it is stored."""
        return self._clock().isoformat(timespec="milliseconds")

    def set_meta(self, values: Mapping[str, str]) -> None:
        """Keep text under keys; replaces what was there."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def meta(self) -> dict[str, str]:
        """Return everything kept by `set_meta`."""
        return self._read(dict(self.rows("SELECT key, value FROM meta")), dict[str, str], "meta")

    def propose(
        self, count: int, proposals: Sequence[Proposal], controller_state: Mapping[str, StateValue]
    ) -> list[Trial]:
        """Record one ask for `count` proposals: those that came as new trials, and the controller's state after it."""
        now = self.now()
        with self._transaction() as connection:
            for proposal in proposals:
                connection.execute(
                    "INSERT INTO trials (id, state, indices, architecture, fingerprint, repeat_of, proposed_at) "
                    "VALUES (?, 'proposed', ?, ?, ?, ?, ?)",
                    (
                        proposal.id,
                        dump_json(list(proposal.decisions)),
                        dump_json(dict(proposal.architecture)),
                        proposal.fingerprint,
                        proposal.repeat_of,
                        now,
                    ),
                )
            ids = [proposal.id for proposal in proposals]
            self._log("ask", count, ids, None)
            self._keep_controller(controller_state)
        return [self.trial(trial_id) for trial_id in ids]

    def record_training(self, trial_id: int, training: Mapping[str, Any]) -> None:
        """Record the training half of a trial. Raises UnstorableError if JSON cannot hold it."""
        self._record_half("training", trial_id, training)

    def record_latency(self, trial_id: int, latency: Mapping[str, Any]) -> None:
        """Record the latency half of a trial. Raises UnstorableError if JSON cannot hold it."""
        self._record_half("latency", trial_id, latency)

    def _record_half(self, column: Literal["training", "latency"], trial_id: int, record: Mapping[str, Any]) -> None:
        self.write(f"UPDATE trials SET {column} = ? WHERE id = ?", (record_text(record), trial_id))

    def record_second_training(self, trial_id: int, record: Mapping[str, Any]) -> None:
        """Record the second training of a trial's network: its result, or its `failure`.

        Raises:
            UnstorableError: JSON cannot hold it.
        """
        text = record_text(record)
        with self._transaction() as connection:
            connection.execute(TABLE_OF_SECOND_TRAININGS)
            connection.execute("INSERT OR REPLACE INTO second_trainings VALUES (?, ?, ?)", (trial_id, text, self.now()))

    def finish(self, outcomes: Sequence[Outcome], told: Told | None = None) -> None:
        """Record how trials ended and, in the same transaction, what the controller was told of them."""
        now = self.now()
        with self._transaction() as connection:
            for outcome in outcomes:
                failure = outcome.failure
                connection.execute(
                    "UPDATE trials SET state = ?, accuracy = ?, latency_ms = ?, reward = ?, failure_kind = ?, "
                    "failure_message = ?, finished_at = ? WHERE id = ? AND state = 'proposed'",
                    (
                        outcome.state,
                        outcome.accuracy,
                        outcome.latency_ms,
                        outcome.reward,
                        failure and failure.kind.value,
                        failure and failure.message,
                        now,
                        outcome.trial_id,
                    ),
                )
            if told is not None:
                self._log("tell", len(told.trial_ids), told.trial_ids, told.rewards)
                self._keep_controller(told.controller_state)

    def give_back(self) -> list[Trial]:
        """Set the failed trials whose network is not to blame back to `proposed`, halves that have ended kept.

        Returns:
            These trials as they are now, by number; among them the repeats of each.
        """
        with self._transaction() as connection:
            rows = connection.execute(f"SELECT id FROM trials WHERE {TRIED_AGAIN} ORDER BY id").fetchall()
            connection.execute(
                "UPDATE trials SET state = 'proposed', failure_kind = NULL, failure_message = NULL, finished_at = NULL "
                f"WHERE {TRIED_AGAIN}"
            )
        return [self.trial(number) for (number,) in rows]

    def unfinished(self) -> int:
        """Return how many trials a resumed search works on: those proposed, and those that it gives back."""
        query = f"SELECT count(*) FROM trials WHERE state = 'proposed' OR {TRIED_AGAIN}"
        return int(self.rows(query)[0][0])

    def begin_session(self) -> tuple[int, float, float]:
        """Begin a session of searching; `keep_session` of an earlier one is refused from here on.

        Returns:
            The number of the session, and the seconds of searching and of training in all earlier ones.
        """
        now = self.now()
        with self._transaction() as connection:
            query = "SELECT coalesce(max(search_s), 0), coalesce(max(device_s), 0) FROM sessions"
            search_s, device_s = connection.execute(query).fetchone()
            row = connection.execute(
                "INSERT INTO sessions (host, started_at, seen_at, search_s, device_s) VALUES (?, ?, ?, ?, ?)",
                (socket.gethostname(), now, now, search_s, device_s),
            )
        return int(row.lastrowid or 0), float(search_s), float(device_s)

    def sessions(self) -> int:
        """Return how many sessions of searching the run has had; 0 if its file is of version 1, which does not say."""
        return 0 if self._version == 1 else int(self.rows("SELECT count(*) FROM sessions")[0][0])

    def search_s(self) -> float:
        """Return the seconds of searching in all sessions, from the first proposal of each to its last trial.

        They are 0 if the file is of version 1, which does not say.
        """
        if self._version == 1:
            return 0.0
        return float(self.rows("SELECT coalesce(max(search_s), 0) FROM sessions")[0][0])

    def keep_session(self, session: int, search_s: float, device_s: float) -> None:
        """Keep what the search has spent so far, all sessions together, in seconds of searching and of training.

        Raises:
            StoreError: A later session has begun: another search works on this run, perhaps on another machine.
        """
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE sessions SET seen_at = ?, search_s = ?, device_s = ? "
                "WHERE id = ? AND id = (SELECT max(id) FROM sessions)",
                (self.now(), search_s, device_s, session),
            )
            if changed.rowcount != 1:
                raise StoreError(f"{self.path}: another search has begun on this run; stop one of the two")

    def _log(self, call: str, count: int, trial_ids: Sequence[int], rewards: Sequence[float] | None) -> None:
        self._connection.execute(
            "INSERT INTO controller_log (call, count, trials, rewards) VALUES (?, ?, ?, ?)",
            (call, count, dump_json(list(trial_ids)), None if rewards is None else dump_json(list(rewards))),
        )

    def _keep_controller(self, state: Mapping[str, StateValue]) -> None:
        deleted, parts = self._state.changes(state)
        if deleted is None:
            self._connection.execute("DELETE FROM controller_state")
        else:
            self._connection.executemany("DELETE FROM controller_state WHERE key = ?", [(key,) for key in deleted])
        write_parts(self._connection, parts)

    def replace_controller_state(self, state: Mapping[str, StateValue]) -> None:
        """Write the whole state of the controller, whatever is there."""
        with self._transaction():
            self._state.forget()
            self._keep_controller(state)

    def controller_state(self) -> dict[str, StateValue] | None:
        """Return the controller's last state, None before its first ask."""
        if self._version == 1:
            return self._state_of_version_1()
        rows = self.rows("SELECT key, part, type, shape, value, checksum FROM controller_state ORDER BY key, part")
        if not rows:
            return None
        with self._readable():
            source = f"{self.path}: the controller's state"
            return state_of_parts(
                (convert(dict(zip(_PART, row, strict=True)), StatePart, source=source) for row in rows), source
            )

    def _state_of_version_1(self) -> dict[str, StateValue] | None:
        rows = self.rows("SELECT state FROM controller")
        if not rows:
            return None
        try:
            return state_from_bytes(rows[0][0])
        except (ControllerError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self.path}: the controller's state cannot be read ({error}); restore the file"
            ) from error

    def controller_log(self) -> list[ControllerCall]:
        """Return every ask and tell, in order."""
        rows = self.rows("SELECT call, count, trials, rewards FROM controller_log ORDER BY step")
        with self._readable():
            return [
                call_of_row(row, f"{self.path}: step {number} of the controller")
                for number, row in enumerate(rows, start=1)
            ]

    def _read(self, value: object, type_: type[_T], what: str) -> _T:
        with self._readable():
            return convert(value, type_, source=f"{self.path}: {what}")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except DocumentError as error:
            raise StoreError(f"{error}; restore the file from a copy, or start a new run") from error

    def _trial(self, row: tuple[Any, ...]) -> Trial:
        with self._readable():
            return trial_of_row(row, f"{self.path}: trial {row[0]}")

    def trial(self, trial_id: int) -> Trial:
        """Return one trial. Raises StoreError if there is no trial of that number."""
        known = abs(trial_id) < 2**63  # SQLite has no larger numbers
        rows = self.rows(f"SELECT {TRIAL_COLUMNS} FROM trials WHERE id = ?", (trial_id,)) if known else []
        if not rows:
            raise StoreError(f"{self.path}: no trial {trial_id}; `mnas show` lists the trials")
        return self._trial(rows[0])

    def trials(self, state: TrialState | None = None) -> list[Trial]:
        """Return all trials, or those in one state, by number."""
        where, values = ("", ()) if state is None else ("WHERE state = ?", (state,))
        rows = self.rows(f"SELECT {TRIAL_COLUMNS} FROM trials {where} ORDER BY id", values)
        return [self._trial(row) for row in rows]

    def stands(self) -> list[tuple[int, str, str | None]]:
        """Return the number, the state and the end of all trials, by number: a trial that has changed has others."""
        rows = self.rows("SELECT id, state, finished_at FROM trials ORDER BY id")
        return [(number, state, finished_at) for number, state, finished_at in rows]

    def read_trials(self, numbers: Sequence[int], read: Callable[[tuple[Any, ...], str], _T]) -> Iterator[_T]:
        """Yield what `read` makes of trials, in the order of `numbers`, which ascend; see `iterate`.

        Args:
            numbers: The numbers of the trials.
            read: Is called with a row of `mnas.search.rows.TRIAL_COLUMNS` and its name for messages.

        Raises:
            StoreError: `read` has raised DocumentError.
        """
        for first in range(0, len(numbers), _ROWS_AT_A_TIME):
            part = numbers[first : first + _ROWS_AT_A_TIME]
            places = ", ".join("?" * len(part))
            for row in self.rows(f"SELECT {TRIAL_COLUMNS} FROM trials WHERE id IN ({places}) ORDER BY id", part):
                with self._readable():
                    found = read(row, f"{self.path}: trial {row[0]}")
                yield found

    def iterate(self) -> Iterator[Trial]:
        """Yield all trials by number, some at a time; what is written meanwhile may be among those still to come.

        No transaction stays open between them: it would hold up a search on shared storage, and keep the write-ahead
        log of another one from being cut.
        """
        last = -(2**63)  # below every number that SQLite has
        while True:
            query = f"SELECT {TRIAL_COLUMNS} FROM trials WHERE id > ? ORDER BY id LIMIT {_ROWS_AT_A_TIME}"
            rows = self.rows(query, (last,))
            for row in rows:
                yield self._trial(row)
            if len(rows) < _ROWS_AT_A_TIME:
                return
            last = rows[-1][0]

    def counts(self) -> dict[TrialState, int]:
        """Return the number of trials in each state."""
        counted = dict(self.rows("SELECT state, count(*) FROM trials GROUP BY state"))
        return {state: counted.get(state, 0) for state in get_args(TrialState)}

    def best(self, count: int = 1) -> list[Trial]:
        """Return up to `count` complete trials of highest reward, without repeats; the earlier one of equals first."""
        query = (
            f"SELECT {TRIAL_COLUMNS} FROM trials WHERE state = 'complete' AND repeat_of IS NULL "
            "ORDER BY reward DESC, id LIMIT ?"
        )
        return [self._trial(row) for row in self.rows(query, (count,))]

    def finalist_trainings(self) -> list[FinalistTraining]:
        """Return the trainings of finalists, by number; none in a file that has no table of them."""
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'finalist_trainings'"):
            return []
        rows = self.rows(f"SELECT {FINALIST_COLUMNS} FROM finalist_trainings ORDER BY id")
        with self._readable():
            return [finalist_training_of_row(row, f"{self.path}: training {row[0]} of a finalist") for row in rows]

    def second_trainings(self) -> dict[int, dict[str, Any]]:
        """Return the records of second trainings by trial, each with an `accuracy` or a `failure`."""
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'second_trainings'"):
            return {}
        rows = self.rows("SELECT trial, training FROM second_trainings ORDER BY trial")
        with self._readable():
            return dict(second_training_of_row(row, f"{self.path}: second training of {row[0]}") for row in rows)


# Failures that are no network's fault, of trials and of finalists' trainings.
TRIED_AGAIN = "(state = 'failed' AND failure_kind NOT IN ({}))".format(
    ", ".join(f"'{kind.value}'" for kind in FailureKind if kind.is_final)
)
_PART = ("key", "part", "type", "shape", "value", "checksum")


@contextmanager
def _uri_for_reading(path: Path) -> Iterator[str]:
    try:
        with uri_for_reading(path) as uri:
            yield uri
    except UnsteadyError as error:
        raise StoreError(f"{path}: is being written too often to be copied; try again") from error
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be copied to be read ({error.strerror or error}); make it readable, or set TMPDIR to a "
            "folder with free space"
        ) from error
