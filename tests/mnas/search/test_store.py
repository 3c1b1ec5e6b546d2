import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnas.errors import Failure, FailureKind
from mnas.search.store import ControllerCall, Outcome, Proposal, StoreError, Told, TrialStore

ARCHITECTURE = {"blocks": ["r1_k3_s11_e1_i8_o8"]}


def proposal(number: int, repeat_of: int | None = None) -> Proposal:
    return Proposal(number, (number, 0), ARCHITECTURE, f"f{number}", repeat_of)


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return TrialStore(tmp_path / "trials.sqlite", create=True)


def reopened(store: TrialStore) -> TrialStore:
    store.close()
    return TrialStore(store.path)


def test_proposals_survive_with_the_controllers_state(store: TrialStore) -> None:
    store.propose(2, [proposal(1), proposal(2)], {"after": "ask"})
    again = reopened(store)
    assert [(trial.id, trial.decisions, trial.state) for trial in again.trials()] == [
        (1, (1, 0), "proposed"),
        (2, (2, 0), "proposed"),
    ]
    assert again.controller_state() == {"after": "ask"}


def test_halves_are_kept_as_they_come(store: TrialStore) -> None:
    store.propose(1, [proposal(1)], {})
    store.record_latency(1, {"latency_ms": 1.5})
    trial = reopened(store).trial(1)
    assert (trial.training, trial.latency, trial.state) == (None, {"latency_ms": 1.5}, "proposed")


def test_an_outcome_is_kept_with_what_the_controller_was_told(store: TrialStore) -> None:
    store.propose(1, [proposal(1)], {"step": "asked"})
    store.finish(
        [Outcome(1, accuracy=0.1, latency_ms=2.0, reward=0.1 + 0.2)], Told((1,), (0.1 + 0.2,), {"step": "told"})
    )
    again = reopened(store)
    assert (again.trial(1).state, again.trial(1).reward) == ("complete", 0.1 + 0.2)
    assert again.controller_state() == {"step": "told"}
    assert again.controller_log() == [
        ControllerCall("ask", 1, (1,), None),
        ControllerCall("tell", 1, (1,), (0.1 + 0.2,)),
    ]


def test_a_failure_keeps_its_kind_and_text(store: TrialStore) -> None:
    failure = Failure(FailureKind.TRAINING_DIVERGED, "loss is nan at step 3")
    store.propose(1, [proposal(1)], {})
    store.finish([Outcome(1, failure=failure)])
    assert reopened(store).trial(1).failure == failure


def test_an_ended_trial_is_never_changed(store: TrialStore) -> None:
    store.propose(1, [proposal(1)], {})
    store.finish([Outcome(1, accuracy=0.5, latency_ms=1.0, reward=0.5)])
    store.finish([Outcome(1, accuracy=0.9, latency_ms=1.0, reward=0.9)])
    assert store.trial(1).reward == 0.5


@pytest.mark.parametrize("kind", FailureKind)
def test_a_failed_trial_is_given_back_unless_it_is_final(store: TrialStore, kind: FailureKind) -> None:
    store.propose(2, [proposal(1), proposal(2)], {})
    store.record_training(1, {"accuracy": 0.5})
    store.finish([Outcome(1, failure=Failure(kind, "as arranged")), Outcome(2, 0.5, 1.0, 0.5)])
    failed, complete = store.trials()
    assert store.unfinished() == (0 if kind.is_final else 1)
    given_back = store.give_back()
    again = replace(failed, state="proposed", failure=None, finished_at=None)
    assert given_back == ([] if kind.is_final else [again])
    assert reopened(store).trials() == [failed if kind.is_final else again, complete]


def test_best_orders_by_reward_and_leaves_repeats_out(store: TrialStore) -> None:
    store.propose(4, [proposal(1), proposal(2), proposal(3, repeat_of=2), proposal(4)], {})
    rewards = {1: 0.2, 2: 0.7, 3: 0.7, 4: 0.5}
    store.finish([Outcome(number, 0.5, 1.0, value) for number, value in rewards.items()])
    assert [trial.id for trial in store.best(10)] == [2, 4, 1]


@pytest.mark.parametrize("count", [0, 199, 200, 401])
def test_all_trials_are_iterated_once(store: TrialStore, count: int) -> None:
    store.propose(count, [proposal(number) for number in range(1, count + 1)], {})
    assert [trial.id for trial in store.iterate()] == list(range(1, count + 1))


def test_a_reader_that_stops_half_way_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    store = TrialStore(path, create=True, shared=True)
    store.propose(3, [proposal(number) for number in (1, 2, 3)], {})
    reader = TrialStore(path)
    reading = reader.iterate()
    next(reading)
    store.record_training(1, {"accuracy": 0.5})
    assert [trial.id for trial in reading] == [2, 3]
    reader.close()
    store.close()


def test_a_transaction_that_fails_leaves_nothing_behind(store: TrialStore) -> None:
    with pytest.raises(StoreError):
        store.propose(2, [proposal(1), proposal(1)], {"step": "half"})
    assert (store.trials(), store.controller_state()) == ([], None)


def test_others_read_while_one_writes(store: TrialStore) -> None:
    store.propose(1, [proposal(1)], {})
    seen: list[int] = []

    def read() -> None:
        reader = TrialStore(store.path)
        seen.append(len(reader.trials()))
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert seen == [1]


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such run database"):
        TrialStore(tmp_path / "trials.sqlite")


def test_a_reader_leaves_a_database_that_has_not_begun_alone(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    path.touch()
    with pytest.raises(StoreError, match="not begun"):
        TrialStore(path)
    assert path.read_bytes() == b""


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    path.write_bytes(b"not a database, but long enough to look at " * 100)
    with pytest.raises(StoreError, match="damaged or no database"):
        TrialStore(path)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(StoreError, match="not one of mnas"):
        TrialStore(path)


def test_a_newer_schema_is_refused(store: TrialStore) -> None:
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="schema version 99"):
        TrialStore(store.path)


def test_an_unknown_trial_is_named(store: TrialStore) -> None:
    with pytest.raises(StoreError, match="no trial 7"):
        store.trial(7)


def test_a_full_disk_says_what_to_do_and_loses_nothing(store: TrialStore) -> None:
    store.propose(1, [proposal(1)], {"step": "kept"})
    # SQLite's own page limit fails exactly as a full disk does.
    store._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="free some space"):
        store.propose(1, [proposal(2)], {"x": np.ones(2_000_000)})
    again = reopened(store)
    assert ([trial.id for trial in again.trials()], again.controller_state()) == ([1], {"step": "kept"})


def changed(store: TrialStore, statement: str) -> TrialStore:
    """Return a store of two trials, one complete, whose file was changed by another program."""
    store.propose(2, [proposal(1), proposal(2)], {"step": "asked"})
    store.record_training(1, {"accuracy": 0.5, "loss": 1.0})
    store.record_latency(1, {"latency_ms": 2.0})
    store.finish([Outcome(1, accuracy=0.5, latency_ms=2.0, reward=0.5)], Told((1,), (0.5,), {"step": "told"}))
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.executescript(statement)
    connection.close()
    return TrialStore(store.path)


def read_all(store: TrialStore) -> None:
    store.meta()
    store.trials()
    store.controller_log()
    store.controller_state()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trials SET indices = '{'",
        "UPDATE trials SET indices = '[1, \"a\"]'",
        "UPDATE trials SET indices = x'00ff'",
        "UPDATE trials SET architecture = '[]'",
        "UPDATE trials SET training = '[1]' WHERE id = 1",
        'UPDATE trials SET latency = \'{"others": {"p": 1}}\' WHERE id = 1',
        "UPDATE trials SET latency = '{\"others\": [1]}' WHERE id = 1",
        "UPDATE trials SET reward = 'high' WHERE id = 1",
        "UPDATE trials SET reward = 9e999 WHERE id = 1",
        "UPDATE trials SET accuracy = NULL WHERE id = 1",
        "UPDATE trials SET failure_kind = 'strange', failure_message = 'x'",
        "UPDATE trials SET state = 'failed'",
        "UPDATE trials SET proposed_at = 'yesterday'",
        "UPDATE trials SET fingerprint = CAST(x'ff' AS TEXT)",
        "UPDATE controller_state SET value = 1.5",
        "UPDATE controller_state SET value = x'00'",
        "UPDATE controller_state SET part = 1",
        "UPDATE controller_state SET type = '|O8'",
        "UPDATE controller_state SET shape = '[1e9]'",
        "UPDATE controller_log SET rewards = '[NaN]'",
        "UPDATE controller_log SET trials = 7",
        "INSERT INTO meta VALUES ('a', x'00')",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM trials; END",
        "DROP TABLE meta; CREATE VIEW meta AS SELECT 'a' AS key, 'b' AS value",
        "DROP TABLE controller_state",
    ],
)
def test_a_row_that_is_not_ours_is_a_store_error(store: TrialStore, statement: str) -> None:
    with pytest.raises(StoreError):
        read_all(changed(store, statement))


def test_a_record_with_numbers_that_are_not_finite_reads_as_none(store: TrialStore) -> None:
    again = changed(store, """UPDATE trials SET training = '{"accuracy": 0.5, "loss": NaN}' WHERE id = 1""")
    assert again.trial(1).training == {"accuracy": 0.5, "loss": None}


@pytest.mark.parametrize(("half", "key"), [("training", "accuracy"), ("latency", "latency_ms")])
def test_a_half_whose_number_is_not_finite_is_not_done(store: TrialStore, half: str, key: str) -> None:
    again = changed(store, f"""UPDATE trials SET {half} = '{{"{key}": Infinity}}' WHERE id = 2""")
    assert getattr(again.trial(2), half) is None


def test_what_is_recorded_can_be_read_back(store: TrialStore) -> None:
    store.propose(1, [proposal(1)], {})
    store.record_training(1, {"accuracy": 0.5, "loss": float("nan")})
    assert reopened(store).trial(1).training == {"accuracy": 0.5, "loss": None}


def test_a_trial_number_beyond_sqlite_is_no_trial(store: TrialStore) -> None:
    with pytest.raises(StoreError, match="no trial"):
        store.trial(10**30)
