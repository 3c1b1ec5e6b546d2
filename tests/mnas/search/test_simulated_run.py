from pathlib import Path

from mnas.experiment import Experiment
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
