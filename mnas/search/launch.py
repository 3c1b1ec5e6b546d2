"""`mnas search`: everything of a search put together, run to its end, and taken apart again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from latency import ProcessPauser
from mnas.data import load_search_data
from mnas.documents.yaml_file import dump
from mnas.errors import ConfigurationError, Error
from mnas.experiment import Experiment
from mnas.files import write_atomically
from mnas.search.driver import Plan, Search, SearchObserver
from mnas.search.latency import open_latency_meter
from mnas.search.run_directory import open_run
from mnas.search.store import Trial
from mnas.workers.cluster import ray_cluster, worker_count
from mnas.workers.pool import ChildPool
from search_space import ArchitectureFile, architecture_file_to_dict, architecture_from_dict


@dataclass(frozen=True)
class SearchResult:
    """What a finished search has found; `input_form` is what `search_space.lower` needs beside an architecture."""

    best: Trial
    input_form: Mapping[str, int]
    best_path: Path
    complete: int
    failed: int


def run_search(experiment: Experiment, directory: Path, observer: SearchObserver) -> SearchResult:
    """Carry out a search in a run directory, or go on with the one that is there.

    Raises Error whose message says what to do; whatever had been learnt by then is in the run directory.
    """
    space = experiment.load_space()
    controller = experiment.create_controller(space)
    data = load_search_data(experiment.data)
    if len(data.train) < experiment.training.batch_size:
        raise ConfigurationError(
            f"training.batch_size: {len(data.train)} training images do not fill one batch of "
            f"{experiment.training.batch_size}; lower it"
        )
    with ExitStack() as stack:
        run = stack.enter_context(open_run(directory, experiment, data))
        store = run.store
        counts = store.counts()
        if counts["proposed"] or sum(counts.values()) < experiment.search.trials:
            # Ray prints what befalls its workers on standard output, which is for the answer alone.
            stack.enter_context(redirect_stdout(stack.enter_context((directory / "ray.log").open("a"))))
            stack.enter_context(ray_cluster(experiment.search))
            workers = worker_count(experiment.search, experiment.device)
            pool = ChildPool(data, experiment.training, experiment.search, experiment.device, workers)
            stack.callback(pool.close)
            # Children stand still while a network is timed: they would take cores, caches and memory bandwidth.
            pauser = ProcessPauser()
            stack.callback(pauser.close)
            quiet = partial(pauser.window, pool.pids)
            meter = stack.enter_context(open_latency_meter(experiment.latency, run.input_form, quiet))
            plan = Plan(
                trials=experiment.search.trials,
                workers=workers,
                target_ms=experiment.latency.target_ms,
                others_target_ms=experiment.latency.rewarded_others(),
                reward=experiment.reward,
                schedule=experiment.search.schedule,
                batch_size=experiment.search.batch_size,
                seed=experiment.seed,
                max_consecutive_failures=experiment.search.max_consecutive_failures,
            )
            Search(plan, space, controller, store, pool, meter, observer).run()
        counts = store.counts()
        best = next(iter(store.best()), None)
    if best is None:
        raise Error(f"{directory}: none of {counts['failed']} trials succeeded; `mnas show {directory}` says why")
    best_path = _write_best(directory, space.name, best, run.input_form)
    return SearchResult(best, run.input_form, best_path, counts["complete"], counts["failed"])


def _write_best(directory: Path, space_name: str, best: Trial, input_form: Mapping[str, int]) -> Path:
    path = directory / "best.yaml"
    lineage = {
        "run": str(directory),
        "trial": best.id,
        "input": dict(input_form),
        "accuracy": best.accuracy,
        "latency_ms": best.latency_ms,
        **({"other_latencies_ms": others} if (others := best.other_latencies_ms) else {}),
        "reward": best.reward,
    }
    file = ArchitectureFile(
        architecture_from_dict(best.architecture),
        name=f"trial {best.id} of {directory.name}",
        space=space_name,
        indices=best.indices,
        lineage=lineage,
    )
    write_atomically(path, dump(architecture_file_to_dict(file)).encode())
    return path
