"""What the live page reads, without a web framework."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from mnas.documents.json_text import dump_json
from mnas.report import live_runs
from mnas.report.data import report_data
from mnas.report.live_runs import LiveFolder, LiveRun
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE
from mnas.search.store import Outcome, StoreError, TrialStore
from tests.mnas.report.stand_in import stand_in_run


def test_a_run_that_has_changed_is_read_again_when_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = stand_in_run(tmp_path / "run", 8, pending=2)
    shown = LiveRun(directory, "run")
    first = shown.read()
    with closing(TrialStore(directory / DATABASE, create=True)) as store:
        store.finish([Outcome(7, 0.5, 1.0, 0.5)])
    monkeypatch.setattr(shown, "_next_s", float("inf"))
    assert shown.read() is first
    monkeypatch.setattr(shown, "_next_s", 0.0)
    second = shown.read()
    assert second.version != first.version
    (stored,) = report_data([Run.open(directory)])["runs"]
    assert json.loads(second.text) == json.loads(dump_json(stored | {"details": {}}))


def test_a_run_that_cannot_be_read_is_tried_again_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = stand_in_run(tmp_path / "run", 3)
    stored = (directory / DATABASE).read_bytes()
    (directory / DATABASE).write_bytes(b"no database")
    shown = LiveRun(directory, "run")
    for next_s in (0.0, float("inf")):
        monkeypatch.setattr(shown, "_next_s", next_s)
        with pytest.raises(StoreError, match="no database"):
            shown.read()
    (directory / DATABASE).write_bytes(stored)
    monkeypatch.setattr(shown, "_next_s", 0.0)
    assert json.loads(shown.read().text)["trials"]["id"] == [1, 2, 3]


def test_trials_are_kept_of_the_last_runs_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_runs, "RUNS_KEPT", 2)
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / DATABASE).touch()
    runs = LiveFolder(tmp_path)
    first, second = runs.run("a"), runs.run("b")
    assert runs.run("a") is first
    runs.run("c")
    assert runs.run("a") is first
    assert runs.run("b") is not second


def test_a_folder_gives_its_own_runs_only(tmp_path: Path) -> None:
    stand_in_run(tmp_path / "below" / "run", 3)
    stand_in_run(tmp_path / "other", 3)
    runs = LiveFolder(tmp_path / "below")
    assert runs.names() == ["run"]
    assert isinstance(runs.run("run"), LiveRun)
    assert runs.run("../other") is None


def test_each_run_is_listed_with_its_best_or_why_it_cannot_be_read(tmp_path: Path) -> None:
    run = Run.open(stand_in_run(tmp_path / "run", 30, pending=3))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / DATABASE).write_bytes(b"no database")
    runs = LiveFolder(tmp_path)
    counts, best = run.counts(), run.best()
    trials, *numbers = runs.standing("run")
    assert trials == f"{counts['complete']} complete, {counts['failed']} failed, of 30"
    assert [float(number) for number in numbers] == pytest.approx(
        [best.accuracy, best.latency_ms, best.reward], abs=5e-5
    )
    assert "no database" in runs.standing("damaged")[0]
