"""A run directory that mnas 0.1.0 (commit a5a36bd) left when it was killed: three trials complete, one in the middle.

Made by `mnas search` with the experiment next to it and SIGKILL after the third result; the write-ahead log was folded
into the database.
"""

import sqlite3
import tarfile
from pathlib import Path

import pytest

from mnas.cli import main
from mnas.experiment import MAX_CHILD_TIMEOUT_S, Experiment
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE

OLD_RUNS = Path(__file__).with_name("old_runs")
EXPERIMENT = OLD_RUNS / "experiment_of_0_1_0.yaml"
REWARDS = {1: 0.967024432938234, 2: 1.0208988233928482, 3: 0.9722884071971827}


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    with tarfile.open(OLD_RUNS / "killed_search_of_0_1_0.tar.xz") as archive:
        archive.extractall(tmp_path / "run", filter="data")
    return tmp_path / "run"


def rewards(run_directory: Path) -> dict[int, float | None]:
    return {trial.id: trial.reward for trial in Run.open(run_directory).trials}


def test_it_is_read(run_directory: Path) -> None:
    assert rewards(run_directory) == REWARDS | {4: None}


def test_the_experiment_that_made_it_is_the_stored_one(run_directory: Path) -> None:
    assert Run.open(run_directory).experiment == Experiment.load(EXPERIMENT)


def test_its_images_have_no_class_names(run_directory: Path) -> None:
    images = Run.open(run_directory).images
    assert (images.num_classes, images.class_names, images.mean) == (10, None, (0.3054,))


def test_its_best_network_is_exported(run_directory: Path, tmp_path: Path) -> None:
    assert main(["export", str(run_directory), "--out", str(tmp_path / "export")]) == 0
    assert (tmp_path / "export" / "model.onnx").is_file()


def test_it_is_resumed_and_keeps_what_it_had(run_directory: Path) -> None:
    assert main(["search", str(EXPERIMENT), "--run-dir", str(run_directory)]) == 0
    finished = rewards(run_directory)
    assert {trial: finished[trial] for trial in REWARDS} == REWARDS
    assert sorted(finished) == [1, 2, 3, 4, 5, 6]
    assert None not in finished.values()


def test_a_run_whose_timeout_was_infinite_opens(run_directory: Path) -> None:
    # mnas 0.1 accepted `child_timeout_s: .inf` and stored it as null.
    with sqlite3.connect(run_directory / DATABASE) as database:
        database.execute(
            "UPDATE meta SET value = json_set(value, '$.search.child_timeout_s', NULL) WHERE key = 'experiment'"
        )
    database.close()
    assert Run.open(run_directory).experiment.search.child_timeout_s == MAX_CHILD_TIMEOUT_S
