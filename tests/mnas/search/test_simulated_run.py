from pathlib import Path

import pytest

from mnas.cli import main
from mnas.experiment import Experiment
from mnas.report.data import report_data
from mnas.search.forecast import workload_of_run
from mnas.search.simulated_run import simulate_run
from mnas.search.simulation import Workload


def test_a_simulated_run_is_read_like_another_one(tmp_path: Path) -> None:
    experiment = Experiment.load("quickstart").changed({"search.trials": 6})
    load = Workload(train_s=(3.0,), compile_s=(2.0,), measure_s=(0.5,))
    run = simulate_run(tmp_path / "run", experiment, experiment.data.load_search(), load, workers=2)
    assert [trial.state for trial in run.trials] == ["complete"] * 6
    assert run.best().reward is not None
    times = workload_of_run(run)
    assert (set(times.train_s), set(times.compile_s)) == ({3.0}, {2.0})


def test_a_run_with_children_that_were_stopped_early_is_shown_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"search.trials": 40, "search.halving.first_epochs": 1}
    experiment = Experiment.load("quickstart").changed(changes)
    load = Workload(train_s=(50.0,), measure_s=(0.5,))
    run = simulate_run(tmp_path / "run", experiment, experiment.data.load_search(), load, workers=2)
    stopped = [trial for trial in run.trials if trial.state == "stopped" and trial.repeat_of is None]
    assert {trial.training["phases"]["train"]["wall_s"] for trial in stopped if trial.training} <= {10.0, 30.0}
    assert set(workload_of_run(run).train_s) == {50.0}
    assert run.best().state == "complete"
    counts = run.counts()
    assert report_data([run])["runs"][0]["verdict"]["counts"] == counts
    assert main(["show", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert f"{counts['complete']} complete, {counts['stopped']} stopped early, 0 failed" in shown
    assert "stopped after epoch 1: accuracy" in shown
