"""The trial store: everything that a search has learnt, in one SQLite file, committed before the next step.

A trial is a small state machine: proposed -> complete | failed. Its two halves (training, latency) are recorded as they
come. Proposals are committed together with the state of the controller that made them, and outcomes together with the
state of the controller that was told them. So a process killed at any moment loses no finished work and repeats none,
and the controller that resumes is exactly the one that was stopped. `controller_log` holds every ask and tell in order,
which is enough to replay a search with a new controller.

A failed trial whose network is not to blame goes back to proposed when the search is resumed (`give_back`). The
controller was told nothing of it, so the controller's state and log stay as they are.

The file may come from elsewhere, so every row is checked when it is read. Numbers are finite: in a record of a training
or a measurement, NaN and infinite numbers are stored as null, and those that mnas up to 0.2 stored read as None. A
record whose accuracy or latency is such a number counts as not recorded, and that half of the trial is done again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, TypeVar

from mnas.documents.check import convert
from mnas.documents.file_systems import file_system_of
from mnas.documents.json_text import dump_json, parse_json
from mnas.errors import DocumentError, Error, Failure, FailureKind
from mnas.search.read_only import UnsteadyError, uri_for_reading, uri_of

SCHEMA_VERSION = 1
TrialState = Literal["proposed", "complete", "failed"]

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('proposed', 'complete', 'failed')),
    indices TEXT NOT NULL,
    architecture TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    repeat_of INTEGER REFERENCES trials (id),
    training TEXT,
    latency TEXT,
    accuracy REAL,
    latency_ms REAL,
    reward REAL,
    failure_kind TEXT,
    failure_message TEXT,
    proposed_at TEXT NOT NULL,
    finished_at TEXT
);
CREATE INDEX trials_by_fingerprint ON trials (fingerprint);
CREATE INDEX trials_by_state ON trials (state);
CREATE TABLE controller (id INTEGER PRIMARY KEY CHECK (id = 0), state BLOB NOT NULL);
CREATE TABLE controller_log (
    step INTEGER PRIMARY KEY,
    call TEXT NOT NULL CHECK (call IN ('ask', 'tell')),
    count INTEGER NOT NULL,
    trials TEXT NOT NULL,
    rewards TEXT
);
"""


_TABLES = {"meta", "trials", "controller", "controller_log"}
_T = TypeVar("_T")


class StoreError(Error):
    """The run's database cannot be opened, read or written."""


@dataclass(frozen=True)
class Proposal:
    """What a controller proposed, as a trial.

    Attributes:
        id: The number of the trial.
        decisions: The controller's integers.
        architecture: What they stand for, as plain data for JSON.
        fingerprint: Equal for two architectures that are the same network.
        repeat_of: An earlier trial of the same network. This one takes over its outcome and costs nothing.
    """

    id: int
    decisions: tuple[int, ...]
    architecture: Mapping[str, Any]
    fingerprint: str
    repeat_of: int | None = None


@dataclass(frozen=True)
class Trial:
    """One proposal with its results.

    Attributes:
        id: The number of the trial, from 1.
        state: `proposed` until both halves have ended, then `complete` or `failed`. A trial that failed through no
            fault of its network is `proposed` again when the search is resumed.
        decisions: The controller's integers.
        architecture: What they stand for, as plain data; see `search_space.architecture_from_dict`.
        fingerprint: Equal for two architectures that are the same network.
        repeat_of: The earlier trial of the same network whose outcome this one has; None for the first.
        training: The full record of the training; None until it has ended, and for a repeat.
        latency: The full record of the measurement; None until it has ended, and for a repeat.
        accuracy: Top-1 on the reward set, from 0 to 1; None unless the trial is complete, as are the next two.
        latency_ms: The latency on the phone that the experiment names, in milliseconds.
        reward: The reward of both.
        failure: What went wrong; None unless the trial has failed.
        proposed_at: When the controller proposed it; UTC, ISO 8601.
        finished_at: When it ended; None until then.
    """

    id: int
    state: TrialState
    decisions: tuple[int, ...]
    architecture: Mapping[str, Any]
    fingerprint: str
    repeat_of: int | None
    training: Mapping[str, Any] | None
    latency: Mapping[str, Any] | None
    accuracy: float | None
    latency_ms: float | None
    reward: float | None
    failure: Failure | None
    proposed_at: str
    finished_at: str | None

    @property
    def other_latencies_ms(self) -> dict[str, float]:
        """The latencies (ms) on the other phones of the experiment, by name; none for a repeat."""
        others = {} if self.latency is None else self.latency.get("others", {})
        return {name: float(other["latency_ms"]) for name, other in others.items()}


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: a reward with its accuracy and latency, or a failure."""

    trial_id: int
    accuracy: float | None = None
    latency_ms: float | None = None
    reward: float | None = None
    failure: Failure | None = None

    @property
    def state(self) -> TrialState:
        """The state that the trial ends in."""
        return "complete" if self.failure is None else "failed"


@dataclass(frozen=True)
class Told:
    """One tell of a controller: the trials, their rewards, and its state after the call."""

    trial_ids: tuple[int, ...]
    rewards: tuple[float, ...]
    controller_state: bytes


@dataclass(frozen=True)
class ControllerCall:
    """One entry of the controller's log.

    Attributes:
        call: What was called.
        count: How many trials were asked for, or told. A space that is nearly used up gives fewer than asked for.
        trial_ids: The trials that were proposed or told.
        rewards: What was told of each; None for an ask.
    """

    call: Literal["ask", "tell"]
    count: int
    trial_ids: tuple[int, ...]
    rewards: tuple[float, ...] | None


class TrialStore:
    """The SQLite file of one run. One process writes; others may read at any time.

    Every method that writes is one transaction, on disk (fsync) when it returns. Every method raises StoreError if the
    file cannot be read or written.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the store at `path`.

        Args:
            path: The SQLite file.
            create: Make the file if it is new, and allow writing. Otherwise the store is for reading.
        """
        self.path = path
        self._create = create
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
        if version not in (0, SCHEMA_VERSION):
            raise StoreError(
                f"{self.path}: written with schema version {version}, this mnas reads version {SCHEMA_VERSION}; "
                "use the mnas that made it"
            )
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables:
            raise StoreError(f"{self.path}: an SQLite file, but not one of mnas; choose another run directory")
        if version == 0 and not create:
            raise StoreError(f"{self.path}: the run has not begun yet; start it with `mnas search`")
        connection.execute("PRAGMA trusted_schema = OFF")
        if version:
            self._check_schema()
        if version == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            # user_version is set in the same transaction: a kill in between leaves an empty file, not half a schema.
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        connection.execute(f"PRAGMA query_only = {'OFF' if create else 'ON'}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    def _check_schema(self) -> None:
        """Raise StoreError unless the file has our tables, and neither views nor triggers, which run code of others."""
        # A virtual table has no root page.
        rows = self._connection.execute("SELECT type, name, rootpage FROM sqlite_master").fetchall()
        tables = {name for type_, name, page in rows if type_ == "table" and page}
        if not tables >= _TABLES or any(type_ not in ("table", "index") or not page for type_, _, page in rows):
            raise StoreError(f"{self.path}: its tables are not those of mnas; restore it from a copy")

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
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._connection.execute(query, values).fetchall()

    def set_meta(self, values: Mapping[str, str]) -> None:
        """Keep text under keys; replaces what was there."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def meta(self) -> dict[str, str]:
        """Return everything kept by `set_meta`."""
        return self._read(dict(self._rows("SELECT key, value FROM meta")), dict[str, str], "meta")

    def propose(self, count: int, proposals: Sequence[Proposal], controller_state: bytes) -> list[Trial]:
        """Record one ask for `count` proposals: those that came as new trials, and the controller's state after it."""
        now = _now()
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
        """Record the training half of a trial."""
        self._record_half("training", trial_id, training)

    def record_latency(self, trial_id: int, latency: Mapping[str, Any]) -> None:
        """Record the latency half of a trial."""
        self._record_half("latency", trial_id, latency)

    def _record_half(self, column: Literal["training", "latency"], trial_id: int, record: Mapping[str, Any]) -> None:
        with self._transaction() as connection:
            connection.execute(f"UPDATE trials SET {column} = ? WHERE id = ?", (dump_json(dict(record)), trial_id))

    def finish(self, outcomes: Sequence[Outcome], told: Told | None = None) -> None:
        """Record how trials ended and, in the same transaction, what the controller was told of them."""
        now = _now()
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
            rows = connection.execute(f"SELECT id FROM trials WHERE {_NOT_TO_BLAME} ORDER BY id").fetchall()
            connection.execute(
                "UPDATE trials SET state = 'proposed', failure_kind = NULL, failure_message = NULL, finished_at = NULL "
                f"WHERE {_NOT_TO_BLAME}"
            )
        return [self.trial(number) for (number,) in rows]

    def unfinished(self) -> int:
        """Return how many trials a resumed search works on: those proposed, and those that it gives back."""
        query = f"SELECT count(*) FROM trials WHERE state = 'proposed' OR {_NOT_TO_BLAME}"
        return int(self._rows(query)[0][0])

    def _log(self, call: str, count: int, trial_ids: Sequence[int], rewards: Sequence[float] | None) -> None:
        self._connection.execute(
            "INSERT INTO controller_log (call, count, trials, rewards) VALUES (?, ?, ?, ?)",
            (call, count, dump_json(list(trial_ids)), None if rewards is None else dump_json(list(rewards))),
        )

    def _keep_controller(self, state: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO controller VALUES (0, ?)", (state,))

    def controller_state(self) -> bytes | None:
        """Return the controller's last state, None before its first ask."""
        rows = self._rows("SELECT state FROM controller")
        return self._read(rows[0][0], bytes, "controller") if rows else None

    def controller_log(self) -> list[ControllerCall]:
        """Return every ask and tell, in order."""
        rows = self._rows("SELECT call, count, trials, rewards FROM controller_log ORDER BY step")
        return [self._call(number, *row) for number, row in enumerate(rows, start=1)]

    def _call(self, number: int, call: object, count: object, ids: str, rewards: str | None) -> ControllerCall:
        with self._readable():
            source = f"{self.path}: step {number} of the controller"
            fields = {
                "call": call,
                "count": count,
                "trial_ids": parse_json(ids, source=source),
                "rewards": None if rewards is None else parse_json(rewards, source=source),
            }
            return convert(fields, ControllerCall, source=source)

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
            return _trial(row, f"{self.path}: trial {row[0]}")

    def trial(self, trial_id: int) -> Trial:
        """Return one trial. Raises StoreError if there is no trial of that number."""
        known = abs(trial_id) < 2**63  # SQLite has no larger numbers
        rows = self._rows(f"SELECT {_TRIAL_COLUMNS} FROM trials WHERE id = ?", (trial_id,)) if known else []
        if not rows:
            raise StoreError(f"{self.path}: no trial {trial_id}; `mnas show` lists the trials")
        return self._trial(rows[0])

    def trials(self, state: TrialState | None = None) -> list[Trial]:
        """Return all trials, or those in one state, by number."""
        where, values = ("", ()) if state is None else ("WHERE state = ?", (state,))
        rows = self._rows(f"SELECT {_TRIAL_COLUMNS} FROM trials {where} ORDER BY id", values)
        return [self._trial(row) for row in rows]

    def counts(self) -> dict[TrialState, int]:
        """Return the number of trials in each state."""
        counted = dict(self._rows("SELECT state, count(*) FROM trials GROUP BY state"))
        return {state: counted.get(state, 0) for state in ("proposed", "complete", "failed")}

    def best(self, count: int = 1) -> list[Trial]:
        """Return up to `count` complete trials of highest reward, without repeats; the earlier one of equals first."""
        query = (
            f"SELECT {_TRIAL_COLUMNS} FROM trials WHERE state = 'complete' AND repeat_of IS NULL "
            "ORDER BY reward DESC, id LIMIT ?"
        )
        return [self._trial(row) for row in self._rows(query, (count,))]


_NOT_TO_BLAME = "(state = 'failed' AND failure_kind NOT IN ({}))".format(
    ", ".join(f"'{kind.value}'" for kind in FailureKind if kind.blames_candidate)
)
_TRIAL_COLUMNS = (
    "id, state, indices, architecture, fingerprint, repeat_of, training, latency, accuracy, latency_ms, reward, "
    "failure_kind, failure_message, proposed_at, finished_at"
)


def _trial(row: tuple[Any, ...], source: str) -> Trial:
    (number, state, decisions, architecture, fingerprint, repeat_of, training, latency, *rest) = row
    accuracy, latency_ms, reward, failure_kind, failure_message, proposed_at, finished_at = rest
    fields = {
        "id": number,
        "state": state,
        "decisions": parse_json(decisions, source=source),
        "architecture": parse_json(architecture, source=source),
        "fingerprint": fingerprint,
        "repeat_of": repeat_of,
        "training": _half(training, "accuracy", source),
        "latency": _half(latency, "latency_ms", source),
        "accuracy": accuracy,
        "latency_ms": latency_ms,
        "reward": reward,
        "failure": failure_kind and {"kind": failure_kind, "message": failure_message},
        "proposed_at": proposed_at,
        "finished_at": finished_at,
    }
    trial = convert(fields, Trial, source=source)
    if trial.state == "complete" and None in (trial.accuracy, trial.latency_ms, trial.reward, trial.finished_at):
        raise DocumentError(f"{source}: is complete but lacks a result")
    if trial.state == "failed" and trial.failure is None:
        raise DocumentError(f"{source}: has failed, but not why")
    try:
        for time in (trial.proposed_at, trial.finished_at):
            if time is not None:
                datetime.fromisoformat(time)
        convert(trial.other_latencies_ms, dict[str, float], source=f"{source}: other latencies")
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise DocumentError(f"{source}: cannot be read ({error})") from error
    return trial


def _half(text: str | None, key: str, source: str) -> object:
    """Return the record of a half; None if its number `key` was not finite when it was stored."""
    if text is None:
        return None
    record = parse_json(text, source=source, without_infinite=True)
    lost = isinstance(record, dict) and key in record and record[key] is None
    return None if lost else record


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


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
