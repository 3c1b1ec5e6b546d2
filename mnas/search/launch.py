"""Everything of a search put together, run to its end, and closed again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from controllers import Controller
from latency import ProcessPauser
from latency.host.quiet import Quiet
from mnas.data import SearchData
from mnas.data.node_paths import read_files
from mnas.data.own_sources import check_own_sources
from mnas.documents.yaml_file import dump
from mnas.errors import ClusterLostError, ConfigurationError
from mnas.experiment import Experiment
from mnas.files import write_atomically
from mnas.machine.check import require_machine
from mnas.search.control import ControlFile
from mnas.search.driver import ChildTrainer, LatencyMeter, Progress, Search, SearchObserver, SilentObserver
from mnas.search.finals import Finals, has_finals_to_run
from mnas.search.plan import search_plan
from mnas.search.requests import SearchControl
from mnas.search.run import Run
from mnas.search.run_directory import check_phones, keep_overhead, open_run
from mnas.search.scalars import Observers, scalar_observer
from mnas.search.store import Trial, TrialStore
from mnas.search.weights import WeightsFolder
from search_space import architecture_file_to_dict

_LOG = logging.getLogger(__name__)
# Times that a Ray of our own is started again without a trial that has ended in between.
MAX_FRUITLESS_RESTARTS = 2
CANN_FOLDER = "cann"  # logs and caches of CANN, in the run directory


@dataclass(frozen=True)
class OwnParts:
    """The user's own parts of a search; None takes the experiment's part."""

    trainer: ChildTrainer | None = None
    latency: LatencyMeter | None = None
    data: SearchData | None = None
    controller: Controller | None = None

    def class_names(self) -> dict[str, str]:
        """Return the class names of the parts that a run remembers; data is remembered by its fingerprint."""
        parts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "data"}
        return {name: type(part).__qualname__ for name, part in parts.items() if part is not None}


@dataclass(frozen=True)
class _Workplace:
    """What trains and times the architectures.

    Attributes:
        workers: Returns how many children can train at a time; it changes with the nodes of a cluster.
        check: Raises ClusterLostError if the Ray below is gone.
    """

    trainer: ChildTrainer
    latency: LatencyMeter
    workers: Callable[[], int]
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class _WatchingObserver:
    """Hands on what happens, and looks after the workplace meanwhile; what `check` raises ends the search."""

    observer: SearchObserver
    check: Callable[[], None]

    def trial_finished(self, trial: Trial) -> None:
        self.observer.trial_finished(trial)

    def progress(self, progress: Progress) -> None:
        self.check()
        self.observer.progress(progress)


def run_search(experiment: Experiment, directory: Path, observer: SearchObserver | None, own: OwnParts) -> Run:
    """Carry out a search in a run directory, or go on with the one that is there; see `Experiment.run`."""
    began_s = time.monotonic()
    experiment.check_values()
    space = experiment.load_space()
    controller = experiment.create_controller(space) if own.controller is None else own.controller
    if own.latency is None:
        experiment.check_latency()
    if own.data is None:
        data = experiment.data.load_search()
    else:
        data = own.data
        check_own_sources("data", {"train": data.train, "reward": data.reward})
    if own.trainer is None:
        _check_batch_size(experiment, data)
    keeps_weights = experiment.search.keep_weights != "none"
    if own.trainer is not None and keeps_weights:
        keeps_weights = False
        _LOG.warning("mnas: search.keep_weights: the weights of a trainer of your own are not kept")
    with open_run(directory, experiment, data, own.class_names()) as store:
        control = ControlFile(directory)

        def search() -> None:
            with (
                scalar_observer(directory, store.iterate()) as scalars,
                _open_workplace(experiment, Run.open(directory), store, data, own) as place,
            ):
                Search(
                    search_plan(experiment, place.workers()),
                    space,
                    controller,
                    store,
                    place.trainer,
                    place.latency,
                    _WatchingObserver(Observers([scalars, observer or SilentObserver()]), place.check),
                    control=control,
                    weights=WeightsFolder(Run.open(directory), store) if keeps_weights else None,
                    workers=place.workers,
                ).run()

        if _has_work(store, experiment):
            searched_before_s = store.search_s()
            with_restarts(search, lambda: sum(store.counts().values()) - store.counts()["proposed"])
            searched_s = store.search_s() - searched_before_s
            keep_overhead(store, time.monotonic() - began_s - searched_s)
        if store.counts()["proposed"] == 0 and control.requests().stop is None:
            _run_finals(experiment, directory, store, data, own, observer or SilentObserver(), control)
        run = Run.open(directory)
        if best := run.best_trials(1):
            write_atomically(run.best_file, dump(architecture_file_to_dict(run.architecture_file(best[0]))).encode())
    return run


def _run_finals(
    experiment: Experiment,
    directory: Path,
    store: TrialStore,
    data: SearchData,
    own: OwnParts,
    observer: SearchObserver,
    control: SearchControl,
) -> None:
    """Train the finalists, if the experiment asks for them and they are not decided yet."""
    settings = experiment.search.finalists
    if settings is None or not has_finals_to_run(store, settings):
        return
    # A latency that was kept is that of the search: it would not be a fresh one. Weights are those of the search, too.
    fresh = replace(
        experiment,
        latency=replace(experiment.latency, cache=False),
        search=replace(experiment.search, keep_weights="none"),
    )

    def train() -> None:
        with _open_workplace(fresh, Run.open(directory), store, data, own) as place:
            Finals(
                search_plan(experiment, place.workers()),
                settings,
                store,
                place.trainer,
                place.latency,
                _WatchingObserver(observer, place.check),
                control=control,
                workers=place.workers,
            ).run()

    with_restarts(train, lambda: sum(one.state != "proposed" for one in store.finalist_trainings()))


def with_restarts(search: Callable[[], None], ended: Callable[[], int]) -> None:
    """Carry out a search; if a Ray of our own is lost, start it again and go on.

    Args:
        search: Carries it out, or goes on with it.
        ended: Returns how many trials have ended.

    Raises:
        ClusterLostError: The Ray is not ours, or is lost again and again without a trial that ends in between.
    """
    fruitless, ended_before = 0, ended()
    while True:
        try:
            return search()
        except ClusterLostError as error:
            fruitless = fruitless + 1 if ended() == ended_before else 1
            ended_before = ended()
            if not error.restartable or fruitless > MAX_FRUITLESS_RESTARTS:
                raise
            _LOG.warning("mnas: %s; starting Ray again and going on", error)


def _check_batch_size(experiment: Experiment, data: SearchData) -> None:
    batch_size = experiment.training.batch_size
    if len(data.train) < batch_size:
        raise ConfigurationError(
            f"training.batch_size: {len(data.train)} training images do not fill one batch of {batch_size}; lower it"
        )


def _has_work(store: TrialStore, experiment: Experiment) -> bool:
    return store.unfinished() > 0 or sum(store.counts().values()) < experiment.search.trials


@contextmanager
def _open_workplace(
    experiment: Experiment, run: Run, store: TrialStore, data: SearchData, own: OwnParts
) -> Iterator[_Workplace]:
    """Open what is not the user's own: Ray workers, phones, or both."""
    if own.trainer is not None and own.latency is not None:
        yield _Workplace(own.trainer, own.latency, partial(_own_workers, experiment))
        return
    # Here, because they load Ray.
    from mnas.search.latency import open_latency_meter
    from mnas.workers.cluster import ray_cluster, worker_count
    from mnas.workers.nodes import check_nodes
    from mnas.workers.pool import ChildPool

    if own.trainer is None and experiment.search.ray_address is None:
        # This host of a larger cluster may have no NPU; each worker checks its own host.
        require_machine(experiment.device)
    with ExitStack() as stack:
        cluster = stack.enter_context(ray_cluster(experiment.search))
        trainer, quiet = own.trainer, _nothing_to_hold
        workers: Callable[[], int] = partial(_own_workers, experiment)
        if trainer is None:
            room = worker_count(experiment.search, experiment.device)
            joined = experiment.search.ray_address is not None
            trainer = pool = ChildPool(
                data,
                experiment.training,
                experiment.search,
                experiment.device,
                None if experiment.search.workers == "auto" else room,
                ascend=experiment.ascend,
                micro_batch_size=experiment.micro_batch_size,
                folder=run.directory.resolve() / CANN_FOLDER,
                check=check_nodes(read_files(data), experiment.device) if joined else None,
                shared_as=run.directory.name if joined else None,
            )
            workers = pool.workers
            stack.callback(cluster.leave, pool)
            # Children stand still while a network is timed: they would take cores, caches and memory bandwidth.
            pauser = ProcessPauser()
            stack.callback(pauser.close)
            quiet = partial(pauser.window, pool.pids)
        latency = own.latency or stack.enter_context(
            open_latency_meter(experiment.latency, run.image_form, quiet, partial(check_phones, run.directory, store))
        )
        yield _Workplace(trainer, latency, workers, cluster.check)


_nothing_to_hold: Quiet = nullcontext


def _own_workers(experiment: Experiment) -> int:
    """Return how many children a trainer of the user's own gets at a time; `auto` is one for every core."""
    workers = experiment.search.workers
    return len(os.sched_getaffinity(0)) if workers == "auto" else workers
