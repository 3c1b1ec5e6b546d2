import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from mnas.cli import main
from mnas.conversion import to_csv, to_jsonl
from mnas.search.run import Run


@pytest.fixture
def run(searched_run: Path) -> Run:
    return Run.open(searched_run)


def test_csv_has_the_numbers_of_the_store(run: Run, tmp_path: Path) -> None:
    to_csv(run, tmp_path / "trials.csv")
    rows = list(csv.DictReader((tmp_path / "trials.csv").open(newline="")))
    assert [row["reward"] and float(row["reward"]) for row in rows] == [0.28, 0.57, ""]
    assert rows[0]["decisions"] == " ".join(map(str, run.trials[0].decisions))


def test_a_spreadsheet_takes_no_text_for_a_formula(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "columns", lambda _: {"=1+1": ["=cmd()", -1.0]})
    to_csv(replace(run), tmp_path / "trials.csv")
    assert (tmp_path / "trials.csv").read_text() == "'=1+1\n'=cmd()\n-1.0\n"


def test_each_line_is_a_trial(run: Run, tmp_path: Path) -> None:
    to_jsonl(run, tmp_path / "trials.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [1, 2, 3]
    assert [line["training"] for line in lines] == [trial.training for trial in run.trials]


def test_a_study_has_the_trials_of_the_store(searched_run: Path, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'mnas[optuna]'")
    path = tmp_path / "study.db"
    assert main(["convert", str(searched_run), "--to", "optuna", "--out", str(path)]) == 0
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{path}")
    run = Run.open(searched_run)
    best = run.best()
    assert (study.best_value, study.best_trial.user_attrs["mnas_trial"]) == (best.reward, best.id)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert study.trials[2].user_attrs["failure"] == "phone: unsteady"
    decisions = run.experiment.load_space().decisions
    chosen = {one.name: one.choices[index] for one, index in zip(decisions, best.decisions, strict=True)}
    assert study.best_trial.params == chosen


@pytest.mark.parametrize("words", [["--to", "csv"], ["--to", "jsonl"]])
def test_a_folder_that_is_not_there_is_refused(
    words: list[str], searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(searched_run), *words, "--out", str(tmp_path / "none" / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_optunas_dashboard_shows_the_best_reward(searched_run: Path, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'mnas[optuna]'")
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    path = tmp_path / "study.db"
    assert main(["convert", str(searched_run), "--to", "optuna", "--out", str(path)]) == 0
    app = dashboard.wsgi(optuna.storages.RDBStorage(f"sqlite:///{path}"))
    environment: dict[str, Any] = {"PATH_INFO": "/api/studies/1"}
    setup_testing_defaults(environment)
    shown = json.loads(b"".join(app(environment, lambda *_: None)))
    assert (
        max(trial["values"][0] for trial in shown["trials"] if trial["state"] == "Complete")
        == Run.open(searched_run).best().reward
    )
