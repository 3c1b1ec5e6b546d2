from pathlib import Path

import pytest

from mnas.experiment import Experiment
from mnas.search.forecast import COMMAND_S, OVERHEAD_S, Forecast, forecast, hours_text, workload_of_run
from mnas.search.simulated_run import simulate_run
from mnas.search.simulation import Workload

LOAD = Workload(train_s=(3.0,), measure_s=(0.5,), startup_s=2.0, overhead_s=9.0)
FINALISTS = {"search.finalists.count": 2, "search.finalists.extra_trainings": 4}


def experiment_of(**changes: int) -> Experiment:
    return Experiment.load("quickstart").changed({"search.trials": 8, **changes})


def planned(**changes: int) -> Forecast:
    return forecast(experiment_of(**changes), 2, 1, LOAD, "given")


def test_the_finals_are_part_of_the_duration_and_start_once_more() -> None:
    bare, found = planned(), planned(**FINALISTS)
    assert bare.finals_s == 0
    # Two workers: the finalists' first trainings, and at most one more each.
    assert 9.0 + 2.0 + 3.0 <= found.finals_s <= 9.0 + 2.0 + 3 * 3.0
    assert found.hours == pytest.approx(bare.hours + found.finals_s / 3600)


def test_more_workers_change_neither_start_nor_end() -> None:
    found = planned()
    (twice,) = [other for other in found.alternatives if other.workers == 4]
    assert 3600 * twice.hours == pytest.approx(9.0 + (3600 * found.hours - 9.0) / 2, rel=0.1)


def test_a_run_that_does_not_know_its_start_has_that_of_an_estimate(tmp_path: Path) -> None:
    experiment = experiment_of(**FINALISTS)
    run = simulate_run(tmp_path / "run", experiment, experiment.data.load_search(), LOAD, workers=2)
    assert workload_of_run(run).overhead_s == COMMAND_S + OVERHEAD_S
    assert run.finalists()


@pytest.mark.parametrize(
    ("seconds", "text"), [(49.2, "49 seconds"), (120.0, "2.0 minutes"), (3599.0, "60.0 minutes"), (5400.0, "1.5 hours")]
)
def test_times_are_said_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert hours_text(seconds / 3600) == text
