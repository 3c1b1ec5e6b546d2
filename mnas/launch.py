"""`mnas search`: everything of a search put together, run to its end, and taken apart again."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from latency import LatencyError, LatencyService, ProcessPauser, create_phone
from mnas.children import ChildPool, ray_cluster, worker_count
from mnas.data import load_search_data
from mnas.errors import ConfigurationError, MnasError
from mnas.experiment import Experiment
from mnas.latency_meter import OnnxLatencyMeter
from mnas.run_directory import open_run
from mnas.search import Observer, Plan, Search
from mnas.store import Trial
from search_space import architecture_from_dict, save_architecture


@dataclass(frozen=True)
class SearchResult:
    """What a finished search has found."""

    best: Trial
    best_path: Path
    complete: int
    failed: int


def run_search(experiment: Experiment, directory: Path, observer: Observer) -> SearchResult:
    """Carry out a search in a run directory, or go on with the one that is there.

    Raises MnasError whose message says what to do; whatever had been learnt by then is in the run directory.
    """
    space = experiment.load_space()
    controller = experiment.create_controller(space)
    data = load_search_data(experiment.data)
    with ExitStack() as stack:
        store = stack.enter_context(open_run(directory, experiment, data.fingerprint))
        if store.counts()["proposed"] or sum(store.counts().values()) < experiment.search.trials:
            stack.enter_context(ray_cluster(experiment.search, data.nbytes))
            workers = worker_count(experiment.search, experiment.device)
            pool = ChildPool(data, experiment.training, experiment.search, experiment.device, workers)
            stack.callback(pool.close)
            try:
                pauser = stack.enter_context(ProcessPauser())
                phone = create_phone(experiment.latency.phone, quiet=lambda: pauser.window(pool.pids))
            except LatencyError as error:
                raise ConfigurationError(f"latency.phone: {error}") from error
            service = LatencyService(phone, settings=experiment.latency.measurement_settings())
            stack.callback(service.close)
            meter = OnnxLatencyMeter(
                service,
                image_size=data.train.image_size,
                channels=data.train.channels,
                num_classes=data.train.num_classes,
            )
            stack.callback(meter.close)
            plan = Plan(
                trials=experiment.search.trials,
                workers=workers,
                target_ms=experiment.latency.target_ms,
                reward=experiment.reward,
                schedule=experiment.search.schedule,
                batch_size=experiment.search.batch_size,
                seed=experiment.seed,
                max_consecutive_failures=experiment.search.max_consecutive_failures,
            )
            Search(plan, space, controller, store, pool, meter, observer).run()
        best = store.best()
        counts = store.counts()
        if not best:
            raise MnasError(
                f"{directory}: none of {counts['failed']} trials succeeded; `mnas show {directory}` says why"
            )
        path = directory / "best.yaml"
        save_architecture(
            path,
            architecture_from_dict(best[0].architecture),
            space=space.name,
            indices=best[0].indices,
            lineage={
                "run": str(directory),
                "trial": best[0].id,
                "accuracy": best[0].accuracy,
                "latency_ms": best[0].latency_ms,
                "reward": best[0].reward,
            },
        )
        return SearchResult(best[0], path, counts["complete"], counts["failed"])
