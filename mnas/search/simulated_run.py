"""A run directory of a simulated search, for trying what reads runs."""

from __future__ import annotations

from pathlib import Path

from mnas.data import SearchData
from mnas.experiment import Experiment
from mnas.search.plan import search_plan
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE, open_run
from mnas.search.simulation import Workload, simulate

# A run remembers who trained and timed; a real search does not go on with a simulated one.
_PARTS = {"trainer": "SimulatedTrainer", "latency": "SimulatedPhones"}


def simulate_run(
    directory: Path, experiment: Experiment, data: SearchData, load: Workload, *, workers: int, phones: int = 1
) -> Run:
    """Carry out a simulated search of an experiment into a run directory, and return the run.

    Args:
        directory: The run directory; made if it is new.
        experiment: What is searched, with the number of trials.
        data: The images that the run is of; they are not trained on.
        load: How long things take.
        workers: Children that train at a time.
        phones: Phones that measure.
    """
    with open_run(directory, experiment, data, _PARTS):
        pass
    space = experiment.load_space()
    plan = search_plan(experiment, workers)
    simulate(
        plan,
        space,
        experiment.create_controller(space),
        load,
        phones,
        directory / DATABASE,
        finalists=experiment.search.finalists,
        seed=experiment.seed,
    )
    return Run.open(directory)
