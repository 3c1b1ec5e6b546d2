import shutil
import sqlite3
from pathlib import Path

import pytest

from controllers import state_to_bytes
from mnas.cli import main
from mnas.documents.file_systems import Storage
from mnas.experiment import Experiment
from mnas.files import RunDirectoryError, locked_directory
from mnas.search import run_directory
from mnas.search.copy_run import copy_run
from mnas.search.doctor import examine, repair
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE, open_run
from mnas.search.simulated_run import simulate_run
from mnas.search.simulation import Workload
from mnas.search.store import StoreError, TrialStore

TRIALS = 12


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "run"
    experiment = Experiment.load("quickstart").changed({"search.trials": TRIALS})
    simulate_run(directory, experiment, experiment.data.load_search(), Workload(train_s=(3.0,)), workers=2)
    return directory


@pytest.fixture
def directory(simulated: Path, tmp_path: Path) -> Path:
    copy_run(simulated, tmp_path / "copied" / "run")
    return tmp_path / "copied" / "run"


def change(directory: Path, statement: str) -> None:
    with sqlite3.connect(directory / DATABASE) as connection:
        connection.executescript(statement)
    connection.close()


def state(directory: Path) -> bytes:
    store = TrialStore(directory / DATABASE)
    try:
        found = store.controller_state()
        assert found is not None
        return state_to_bytes(found)
    finally:
        store.close()


def test_a_copy_holds_what_the_run_holds(simulated: Path, directory: Path) -> None:
    assert Run.open(directory).trials == Run.open(simulated).trials
    assert state(directory) == state(simulated)
    assert examine(directory, replayed=True) == []


def test_a_copy_replaces_nothing(simulated: Path, directory: Path) -> None:
    with pytest.raises(RunDirectoryError, match="exists already"):
        copy_run(simulated, directory)


def test_a_run_is_copied_while_it_is_written(simulated: Path, directory: Path, tmp_path: Path) -> None:
    store = TrialStore(directory / DATABASE, create=True)
    with store.together():
        store.set_meta({"new": "not yet committed"})
        copy_run(directory, tmp_path / "second")
    store.close()
    assert Run.open(tmp_path / "second").trials == Run.open(simulated).trials


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE trials SET training = '{' WHERE id = 3", "trial 3"),
        ("DELETE FROM controller_state WHERE key = 'seen' AND part = 1", "part 1 is missing"),
        ("DELETE FROM controller_state", "state is missing"),
        ("UPDATE controller_state SET value = x'00' WHERE key = 'generator'", "generator"),
    ],
)
def test_what_can_be_made_again_is_repaired(simulated: Path, directory: Path, statement: str, message: str) -> None:
    change(directory, statement)
    assert any(message in finding.what for finding in examine(directory))
    assert repair(directory) == []
    assert state(directory) == state(simulated)
    assert [trial.reward for trial in Run.open(directory).trials] == [
        trial.reward for trial in Run.open(simulated).trials
    ]
    assert (directory / f"{DATABASE}.damaged-1").is_file()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE trials SET indices = '{' WHERE id = 3", "trial 3"),
        ("PRAGMA foreign_keys = OFF; DELETE FROM trials WHERE id = 3", "are missing: 3"),
        ("DELETE FROM controller_log WHERE call = 'ask' AND step > 5", "never asked for"),
        ("INSERT INTO controller_log (call, count, trials, rewards) VALUES ('tell', 1, '[1]', '[0.5]')", "told twice"),
    ],
)
def test_what_cannot_is_named(directory: Path, statement: str, message: str) -> None:
    change(directory, statement)
    findings = examine(directory)
    assert any(message in finding.what for finding in findings)
    assert not any(finding.repairable for finding in findings)
    assert repair(directory) == findings


def test_a_changed_reward_is_found_by_a_replay(directory: Path) -> None:
    change(directory, "UPDATE controller_log SET rewards = replace(rewards, '0.', '0.9') WHERE call = 'tell'")
    assert examine(directory) == []
    assert any("replay" in finding.what for finding in examine(directory, replayed=True))


def test_torn_pages_are_salvaged(directory: Path) -> None:
    path = directory / DATABASE
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    assert examine(directory)
    repair(directory)
    assert len(Run.open(directory).trials) > 0


def test_a_run_that_is_searched_is_not_repaired(directory: Path) -> None:
    with locked_directory(directory, "mnas search"), pytest.raises(RunDirectoryError, match="another mnas search"):
        repair(directory)


def test_the_command_says_what_is_wrong(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(directory)]) == 0
    change(directory, "DELETE FROM controller_state")
    assert main(["doctor", str(directory)]) == 1
    assert "--repair" in capsys.readouterr().out
    assert main(["doctor", str(directory), "--repair"]) == 0


def test_a_second_search_elsewhere_is_noticed_at_the_next_step(directory: Path) -> None:
    first, second = (TrialStore(directory / DATABASE, create=True) for _ in range(2))
    session, *_ = first.begin_session()
    first.keep_session(session, 1.0, 1.0)
    second.begin_session()
    with pytest.raises(StoreError, match="another search has begun"):
        first.keep_session(session, 2.0, 2.0)
    first.close()
    second.close()


def test_a_search_on_unsafe_storage_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment.load("quickstart")
    monkeypatch.setattr(run_directory, "storage_of", lambda _: Storage("unsafe", "the file system cifs"))
    with (
        pytest.raises(RunDirectoryError, match="file system cifs"),
        open_run(tmp_path / "run", experiment, experiment.data.load_search()),
    ):
        pass


def test_on_shared_storage_there_is_no_write_ahead_log(directory: Path) -> None:
    TrialStore(directory / DATABASE, create=True).close()
    store = TrialStore(directory / DATABASE, create=True, shared=True)
    store.set_meta({"a": "b"})
    assert not list(directory.glob("*-wal"))
    store.close()
    shutil.rmtree(directory)


def test_a_repaired_run_keeps_the_trainings_of_its_finalists(directory: Path) -> None:
    TrialStore(directory / DATABASE, create=True).close()
    change(
        directory,
        "INSERT INTO finalist_trainings (id, trial, seed, state, proposed_at) VALUES (1, 2, 7, 'proposed', '');"
        "UPDATE trials SET training = '{' WHERE id = 1;",
    )
    repair(directory)
    store = TrialStore(directory / DATABASE)
    assert [one.seed for one in store.finalist_trainings()] == [7]
    store.close()


def test_a_training_of_a_finalist_that_cannot_be_read_is_named(directory: Path) -> None:
    TrialStore(directory / DATABASE, create=True).close()
    change(
        directory,
        "INSERT INTO finalist_trainings (id, trial, seed, state, proposed_at) VALUES (1, 2, 7, 'complete', '')",
    )
    assert "training 1 of a finalist: is complete but lacks a result" in examine(directory)[0].what
