"""Each example runs as a newcomer runs it, in an empty folder; none is long."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import mnas
from mnas.search.run import Run

FOLDER = Path(mnas.__file__).parent.parent / "experiments" / "examples"


def run_example(name: str, folder: Path, *arguments: object) -> str:
    """Run an example and return what it printed."""
    command = [sys.executable, str(FOLDER / name), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_has_fewer_than_40_lines_and_a_test(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40
    assert f'run_example("{path.name}"' in Path(__file__).read_text()


def test_a_search_and_its_export(tmp_path: Path) -> None:
    said = run_example("search.py", tmp_path)
    run = Run.open(tmp_path / "runs" / "example_search")
    assert run.counts()["complete"] == 8
    assert f"trial {run.best().id}: accuracy {run.best().accuracy:.3f}" in said
    assert (tmp_path / "export" / "example_search" / "model.onnx").is_file()


def test_an_own_controller_changes_one_decision_of_the_best(tmp_path: Path) -> None:
    run_example("own_controller.py", tmp_path)
    trials = Run.open(tmp_path / "runs" / "example_controller").trials
    # A proposal of the worker that came second may follow from the first trial or from none.
    last, earlier = trials[-1].decisions, [trial.decisions for trial in trials[:-1]]
    differences = [sum(a != b for a, b in zip(last, decisions, strict=True)) for decisions in earlier]
    assert min(differences) <= 1


def test_own_data_is_learnt(tmp_path: Path) -> None:
    said = run_example("own_data.py", tmp_path)
    best = Run.open(tmp_path / "runs" / "example_data").best()
    assert best.accuracy is not None
    assert best.accuracy > 0.8
    assert f"{best.accuracy:.0%}" in said


def test_an_own_trainer_searches_without_training(tmp_path: Path) -> None:
    said = run_example("own_trainer.py", tmp_path)
    run = Run.open(tmp_path / "runs" / "example_trainer")
    assert run.counts()["complete"] == 100
    assert f"reward {run.best().reward:.4f}" in said


def test_the_latency_of_an_optuna_study(tmp_path: Path) -> None:
    if importlib.util.find_spec("optuna") is None:
        pytest.skip("optuna is not installed; it and its dependencies take 41 MB and nothing else needs them")
    assert " ms: {'layers': " in run_example("latency_of_optuna_study.py", tmp_path)


def test_a_run_becomes_a_table(tmp_path: Path) -> None:
    run_example("own_trainer.py", tmp_path)
    lines = run_example("run_into_table.py", tmp_path, "runs/example_trainer").splitlines()
    best = Run.open(tmp_path / "runs" / "example_trainer").best()
    assert lines[0] == "100 of 100 trials, on host"
    row = lines[1 + best.id].split()
    assert row[:2] == [str(best.id), "complete"]
    assert row[4] == f"{best.reward:.4f}"
