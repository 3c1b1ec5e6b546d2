"""The Ray workers that train a run's best networks fully: for each network a fresh process on a core or an NPU."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from msgspec.structs import replace

from mnas.data.node_paths import path_on_this_host
from mnas.errors import ConfigurationError, Error, Failure, FailureKind, TrialError
from mnas.experiment import SearchSettings
from mnas.files import RunDirectoryError, is_locked
from mnas.machine.check import require_machine
from mnas.mindspore_setup import Device, prepare_mindspore
from mnas.retrain.logs import finished_epochs
from mnas.retrain.loop import SilentObserver
from mnas.retrain.recipe import Recipe
from mnas.retrain.retrain import RetrainResult, retrain
from mnas.retrain.top_table import TABLE_FILE
from mnas.workers.attempts import DOUBTFUL_ON, NodeTurns, train_on
from mnas.workers.cluster import RESOURCE, ray_cluster
from mnas.workers.cores import take_core
from mnas.workers.nodes import check_nodes
from mnas.workers.npu import prepare_npu
from mnas.workers.slot import kinds_of_failure
from mnas.workers.worker import HANDOVER_PATIENCE_S, die_with_parent, failure_of
from search_space import ArchitectureFile

# Times that a worker may be lost in a row without an epoch that has ended.
RETRIES = 2
# A worker of a command that was killed ends a moment later, and holds the lock of its run directory until then.
LOCK_PATIENCE_S, LOCK_POLL_S = 30.0, 0.1
CANN_FOLDER = "cann"  # logs and caches of CANN, in the directory of the table


@dataclass(frozen=True)
class FullJob:
    """One network to train fully in its run directory."""

    network: ArchitectureFile
    recipe: Recipe
    directory: Path


class FullTrainingWorker:
    """A Ray actor that trains one network."""

    def __init__(self, job: FullJob) -> None:
        """Keep the job."""
        self._job = job
        self._core: socket.socket | None = None  # taken until the process ends
        die_with_parent()

    def node(self) -> str:
        """Return Ray's node that this is on."""
        return str(ray.get_runtime_context().get_node_id())

    def train(self) -> RetrainResult | Failure:
        """Train the network, or what is left of it; a failure that has a kind is returned as a value."""
        try:
            return self._train(self._job.network, self._job.directory)
        except (Error, MemoryError, OSError) as error:
            return failure_of(error)

    def _train(self, network: ArchitectureFile, directory: Path) -> RetrainResult:
        if not (directory.parent / TABLE_FILE).is_file():
            raise RunDirectoryError(
                f"{directory.parent}: is not there on {socket.gethostname()}; --run-dir must be a folder that all "
                "nodes of the cluster share"
            )
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while is_locked(directory) and time.monotonic() < deadline:
            time.sleep(LOCK_POLL_S)
        recipe = _with_data_at(self._job.recipe, path_on_this_host)
        compute = recipe.compute
        if compute.device == "Ascend":
            compute = prepare_npu(compute, 1, directory.parent / CANN_FOLDER / directory.name)
            recipe = replace(recipe, ascend=compute.ascend)
        elif compute.threads == 1:
            # Before MindSpore is loaded, so that its threads stay on that core, too.
            self._core = take_core(patience_s=HANDOVER_PATIENCE_S)
        prepare_mindspore(compute)
        result = retrain(network, recipe, directory, SilentObserver())
        assert result is not None, "this is the only process of the training"
        return result


class RayTrainer:
    """Trains networks on Ray, some at a time; see `NetworkTrainer`."""

    def __init__(self, recipe: Recipe, workers: int) -> None:
        """Start nothing yet.

        Args:
            recipe: How the networks are trained; its threads are the cores of each.
            workers: Networks trained at a time.
        """
        cpu = recipe.device == "CPU"
        share: dict[str, Any] = {"num_cpus": recipe.threads} if cpu else {"num_cpus": 0, "resources": {"NPU": 1}}
        self._worker_class = ray.remote(**share)(FullTrainingWorker)
        self._recipe = recipe
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="full-training")
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._turns = NodeTurns()
        self._running: list[Any] = []

    def submit(self, network: ArchitectureFile, directory: Path) -> Future[RetrainResult]:
        """Queue one network; see `NetworkTrainer`."""
        return self._threads.submit(self._train, FullJob(network, self._recipe, directory))

    def close(self) -> None:
        """End the workers at once; what they have not stored is given up."""
        with self._lock:
            self._closing.set()
            for worker in self._running:
                ray.kill(worker)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def give_up(self) -> None:
        """Leave a Ray that is gone, which takes no orders."""
        with self._lock:
            self._closing.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def start(self, job: FullJob) -> Any:
        """Return a fresh worker for a network.

        Raises:
            TrialError: The trainer closes.
        """
        with self._lock:
            if self._closing.is_set():
                raise TrialError(FailureKind.WORKER_DIED, "the command ended before the network was trained")
            worker = self._worker_class.remote(job)
            self._running.append(worker)
        return worker

    def stop(self, worker: Any) -> None:
        """End a worker at once."""
        with self._lock:
            self._running.remove(worker)
            if not self._closing.is_set():  # else it has been ended, or Ray is gone and must not be started again
                ray.kill(worker)

    def _train(self, job: FullJob) -> RetrainResult:
        """Train a network, and go on with it on another worker if that may help; see `train_on`."""
        slot = FreshWorkers(self, job)
        try:
            result, _ = train_on(
                slot,
                job,
                RETRIES,
                self._turns,
                self._closing,
                DOUBTFUL_ON[self._recipe.device],
                lambda: finished_epochs(job.directory),
            )
        finally:
            slot.replace()
        return result


class FreshWorkers:
    """The workers that one network is trained on, one after the other; see `mnas.workers.attempts.Slot`."""

    def __init__(self, trainer: RayTrainer, job: FullJob) -> None:
        self._trainer, self._job = trainer, job
        self._worker: Any = None

    def prepare(self) -> str:
        """Start a worker, and wait until Ray has found it a place; return its node."""
        if self._worker is None:
            self._worker = self._trainer.start(self._job)
        with kinds_of_failure():
            return str(ray.get(self._worker.node.remote()))

    def train(self, job: FullJob) -> RetrainResult | Failure:
        """Train the network, or what is left of it."""
        with kinds_of_failure():
            outcome: RetrainResult | Failure = ray.get(self._worker.train.remote())
            return outcome

    def replace(self) -> None:
        """End the worker at once; the next one is started when it is needed."""
        if self._worker is not None:
            self._trainer.stop(self._worker)
            self._worker = None


@contextmanager
def ray_trainer(
    recipe: Recipe, workers: int | None, address: str | None
) -> Iterator[tuple[RayTrainer, Callable[[], None]]]:
    """Start Ray on this machine until the context ends, or join a cluster, and train networks there.

    Args:
        recipe: How the networks are trained. On the CPU each has a core, or as many as the recipe has threads.
        workers: Networks trained at a time; None takes as many as Ray has room for.
        address: The Ray cluster to join; None starts one.

    Yields:
        The trainer, and a function that raises ClusterLostError if a vital part of Ray is gone.

    Raises:
        ConfigurationError: The cluster cannot be joined, or has no room for so many.
        ClusterError: Ray cannot be started on this machine.
    """
    if address is None:
        require_machine(recipe.device)
    recipe = _with_data_at(recipe, lambda path: path)
    cores = (recipe.threads or 1) if recipe.device == "CPU" else 1
    if recipe.device == "CPU":
        recipe = replace(recipe, threads=cores)
    settings = SearchSettings(trials=1, workers="auto" if workers is None else workers * cores, ray_address=address)
    with ray_cluster(settings) as cluster:
        if address is not None:
            path = _data_path(recipe)
            check_nodes([] if path is None else [path], recipe.device)
        trainer = RayTrainer(recipe, room(recipe.device, cores, workers))
        try:
            yield trainer, cluster.check
        finally:
            cluster.leave(trainer)


def room(device: Device, cores: int, workers: int | None) -> int:
    """Return how many networks train at a time on the running Ray cluster: `workers`, or as many as fit.

    Args:
        device: What they are trained on.
        cores: Cores, or NPUs, of each.
        workers: How many are asked for; None takes all that fit.

    Raises:
        ConfigurationError: So many, or even one, do not fit.
    """
    resource = RESOURCE[device]
    found = int(ray.cluster_resources().get(resource, 0))
    wanted = max(1, found // cores) if workers is None else workers
    if wanted * cores > found:
        raise ConfigurationError(
            f"workers: {wanted} networks at a time need {wanted * cores} {resource} of Ray, which has {found}; lower "
            "the number, or `threads` of the recipe, or join a larger cluster"
        )
    return wanted


def _data_path(recipe: Recipe) -> Path | None:
    """Return the absolute path of the folder of the images, None if they are in no folder."""
    path: Path | None = getattr(recipe.data, "path", None)
    return path


def _with_data_at(recipe: Recipe, place: Callable[[Path], Path]) -> Recipe:
    """Return the recipe with its images where `place` of their absolute path is."""
    path = _data_path(recipe)
    return recipe if path is None else recipe.with_data_directory(os.fspath(place(path)))
