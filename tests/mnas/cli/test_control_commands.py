from pathlib import Path

import pytest

from mnas.cli import main
from mnas.experiment import Experiment
from mnas.files import locked_directory
from mnas.search.control import ControlFile
from mnas.search.copy_run import copy_run
from mnas.search.requests import Requests
from mnas.search.simulated_run import simulate_run
from mnas.search.simulation import Workload


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "run"
    experiment = Experiment.load("quickstart").changed({"search.trials": 3})
    simulate_run(directory, experiment, experiment.data.load_search(), Workload(train_s=(3.0,)), workers=2)
    return directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    copy_run(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pause", "RUN"], Requests(paused=True)),
        (["stop", "RUN"], Requests(stop="drain")),
        (["stop", "RUN", "--now"], Requests(stop="now")),
    ],
    ids=str,
)
def test_a_search_that_runs_is_asked(run: Path, words: list[str], expected: Requests) -> None:
    with locked_directory(run, "mnas search"):
        control = ControlFile(run)
        assert main([str(run) if word == "RUN" else word for word in words]) == 0
        assert control.requests() == expected


def test_a_pause_ends_with_resume(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause", str(run)]) == 0
    assert "no process of this machine searches there" in capsys.readouterr().out
    assert main(["resume", str(run)]) == 0
    assert ControlFile(run).requests() == Requests()


def test_nothing_is_stopped_where_nothing_runs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", str(run)]) == 2
    assert "nothing to stop" in capsys.readouterr().err


def test_only_a_pending_trial_is_cancelled(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cancel", str(run), "2"]) == 2
    assert "complete already" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["pause", "stop", "copy", "doctor"])
def test_what_is_no_run_is_refused(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = [str(tmp_path / "copy")] if command == "copy" else []
    assert main([command, str(tmp_path), *target]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_a_plan_names_the_phones_that_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "quickstart", "--workers", "4", "--child-s", "10", "--measure-s", "10"]
    assert main(words) == 0
    assert "the phones: 5 would keep the workers busy" in capsys.readouterr().out


def test_a_plan_like_a_run_takes_no_other_times(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "quickstart", "--like", str(run), "--workers", "2"]) == 0
    assert main(["plan", "quickstart", "--like", str(run), "--child-s", "3"]) == 2
    assert "--like takes all times" in capsys.readouterr().err
