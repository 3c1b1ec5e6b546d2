"""What a run shows of its directory."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mnas.files import RunDirectoryError
from mnas.mindspore_setup import prepare_mindspore
from mnas.search.run import Run
from mnas.search.store import StoreError
from search_space import read_architecture
from tests.mnas.report.stand_in import stand_in_run


@pytest.fixture
def run(searched_run: Path) -> Run:
    return Run.open(searched_run)


def test_its_trials_are_those_of_the_search(run: Run) -> None:
    assert [(trial.id, trial.state) for trial in run.trials] == [(1, "complete"), (2, "complete"), (3, "failed")]
    assert run.counts() == {"proposed": 0, "complete": 2, "stopped": 0, "failed": 1}


def test_the_best_trials_come_in_order_of_reward(run: Run) -> None:
    assert run.best().id == 2
    assert [trial.id for trial in run.best_trials(5)] == [2, 1]


def test_a_trial_is_found_by_its_number(run: Run) -> None:
    assert run.trial(3) == run.trials[2]
    with pytest.raises(StoreError, match="no trial 4"):
        run.trial(4)


def test_columns_are_plain_values_of_one_length(run: Run) -> None:
    columns = run.columns()
    assert {len(column) for column in columns.values()} == {3}
    assert json.loads(json.dumps(columns)) == columns
    assert columns["reward"] == [0.28, 0.57, None]
    assert columns["failure"] == [None, None, "phone"]
    assert columns["decisions"] == [list(trial.decisions) for trial in run.trials]
    assert columns["blocks"][0] == " ".join(run.trials[0].architecture["blocks"])
    assert all(seconds >= 0 for seconds in columns["duration_s"])


def test_each_further_phone_has_a_column(run: Run) -> None:
    both = replace(run, experiment=run.experiment.changed({"latency.others.host:0.target_ms": 2.0}))
    assert both.columns()["latency_ms host:0"] == [None, None, None]


def test_an_architecture_file_says_where_it_comes_from(run: Run) -> None:
    trial = run.best()
    file = run.architecture_file(trial)
    assert run.experiment.load_space().decode(trial.decisions) == file.architecture
    assert (file.lineage["trial"], file.lineage["reward"]) == (2, 0.57)
    assert file.lineage["other_latencies_ms"] == trial.other_latencies_ms


def test_a_trial_is_exported(run: Run, tmp_path: Path) -> None:
    prepare_mindspore()
    exported = run.export(tmp_path / "found", trial=1)
    assert "model.onnx" in exported.files
    assert read_architecture(tmp_path / "found" / "architecture.yaml").architecture == run.architecture(run.trial(1))


def test_a_failed_trial_is_not_exported(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="trial 3 is failed"):
        run.export(tmp_path / "found", trial=run.trial(3))


def test_a_notebook_shows_counts_and_the_best(run: Run) -> None:
    shown = run._repr_html_()
    assert f"2 complete, 1 failed and 0 pending of {run.experiment.search.trials} trials" in shown
    assert shown.index("<td>2</td>") < shown.index("<td>1</td>")
    assert "0.5700" in shown


def test_a_notebook_shows_no_markup_of_a_name(run: Run, tmp_path: Path) -> None:
    renamed = tmp_path / "<b>run"
    renamed.symlink_to(run.directory.absolute())
    assert "&lt;b&gt;run" in Run.open(renamed)._repr_html_()


def test_no_file_stays_open(run: Run) -> None:
    def open_files() -> list[str]:
        folder = Path("/proc/self/fd")
        return [str(link.readlink()) for link in folder.iterdir() if link.is_symlink()]

    run.columns()
    run.best()
    assert [name for name in open_files() if name.startswith(str(run.directory))] == []


def test_no_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no such directory"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(StoreError, match="no such run database"):
        Run.open(tmp_path)


@pytest.fixture
def read_only(searched_run: Path, tmp_path: Path) -> Path:
    """The run on a disk that cannot be written."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    for command in (
        ["mount", "--bind", str(searched_run), str(folder)],
        ["mount", "-o", "remount,ro,bind", str(folder)],
    ):
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"needs the right to mount: {mounted.stderr.strip()}")
    return folder


def test_a_run_on_a_disk_that_cannot_be_written_is_read(read_only: Path, run: Run) -> None:
    try:
        assert not os.access(read_only, os.W_OK)
        assert Run.open(read_only).trials == run.trials
    finally:
        subprocess.run(["umount", str(read_only)], check=True)


def test_a_winner_that_is_less_sure_than_was_asked_for_is_said(tmp_path: Path) -> None:
    run = Run.open(stand_in_run(tmp_path / "run", 40, finalists=3))
    probability = run.finalists()[0].standing.probability_best
    assert 0.95 < probability < 0.9999
    assert not any("finalists" in note for note in run.notes())
    asked = replace(run, experiment=run.experiment.changed({"search.finalists.confidence": 0.9999}))
    assert any(f"probability of {probability:.3f}" in note for note in asked.notes())
    assert not any("finalists" in note for note in asked.notes(below_ms=1e9))
