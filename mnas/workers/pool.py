"""Children trained by Ray workers: the pool that a search hands its networks to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import ray

from mnas.data import SearchData
from mnas.experiment import SearchSettings
from mnas.mindspore_setup import AscendSettings, Compute, Device
from mnas.training.rungs import Rung
from mnas.training.settings import TrainingSettings
from mnas.workers.attempts import DOUBTFUL_ON
from mnas.workers.dispatch import Dispatcher
from mnas.workers.nodes import NodeCheck, has_left, training_nodes
from mnas.workers.npu import with_descendants
from mnas.workers.sharing import ClusterShare
from mnas.workers.slot import WorkerSlot
from mnas.workers.watchdog import Watchdog
from mnas.workers.worker import ChildJob, WorkerSettings
from search_space import Architecture

_LOG = logging.getLogger(__name__)
# How often the pool looks which nodes are there, and whether a worker stands still.
NODES_EVERY_S = 2.0
WATCH_EVERY_S = 30.0


class ChildPool:
    """Workers that train children, one at a time each; they follow the nodes and the searches that come and go."""

    def __init__(
        self,
        data: SearchData,
        training: TrainingSettings,
        settings: SearchSettings,
        device: Device,
        workers: int | None,
        *,
        ascend: AscendSettings = AscendSettings(),
        micro_batch_size: int | None = None,
        folder: Path | None = None,
        check: NodeCheck | None = None,
        shared_as: str | None = None,
    ) -> None:
        """Start the workers.

        Args:
            data: The images.
            training: How a child is trained.
            settings: How failures are handled, and when a worker is replaced.
            device: What the children are trained on.
            workers: The most workers; None takes every device of the cluster.
            ascend: How MindSpore computes on an NPU.
            micro_batch_size: Images of a child that go through the device at a time; None takes whole batches.
            folder: Where CANN keeps logs and caches, a folder for each worker; None leaves them where CANN puts them.
            check: Asks nodes that join whether they can take part; None takes them as they are.
            shared_as: The name under which the search shares the cluster with others; None takes no notice of them.
        """
        self._device: Device = device
        self._most, self._folder, self._check = workers, folder, check
        self._settings = WorkerSettings(
            training=training,
            compute=Compute.of_worker(device, ascend),
            child_timeout_s=settings.child_timeout_s,
            memory_mb=settings.worker_memory_mb,
            max_children=settings.worker_children,
            workers_per_npu=settings.workers_per_npu if device == "Ascend" else 1,
            micro_batch_size=micro_batch_size,
            max_weights_bytes=settings.max_weights_bytes,
            learning_curves=settings.learning_curves,
        )
        # Decoded images are put into Ray's object store once; workers of a node read them there without a copy.
        self._images = ray.put(data)
        self._slots: dict[int, WorkerSlot] = {}
        self._dispatcher = Dispatcher(self._open, has_left, settings.retries, DOUBTFUL_ON[device])
        self._here: str = ray.get_runtime_context().get_node_id()
        self._closing = threading.Event()
        self._share = (
            None if shared_as is None else ClusterShare(shared_as, device, workers, self._settings.workers_per_npu)
        )
        self._staff()
        self._thread = threading.Thread(target=self._follow, name="nodes", daemon=True)
        self._thread.start()

    def workers(self) -> int:
        """Return how many children can train at a time; it changes with the nodes, and with other searches."""
        return self._dispatcher.workers

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        """Queue one child.

        Returns:
            A future of the fields of its `ChildResult` as a JSON-able mapping (its `weights`, if the search keeps
            them, are `TrainedWeights`), or of a TrialError.
        """
        return self.submit_with_rungs(architecture, seed, ())

    def submit_with_rungs(
        self, architecture: Architecture, seed: int, rungs: tuple[Rung, ...]
    ) -> Future[Mapping[str, Any]]:
        """Queue one child, which may be stopped at the rungs; see `submit`."""
        return self._dispatcher.submit(ChildJob(architecture, seed, rungs))

    def pids(self) -> list[int]:
        """Return the processes of the workers on this machine that have started, and on Ascend those that they started.

        CANN's operator compiler works in processes of its own.

        Those on other hosts disturb nothing here, and their process ids mean something else on this one.
        """
        pids = [pid for slot in self._dispatcher.slots() for node, pid in slot.places() if node == self._here]
        return pids if self._device == "CPU" else [each for pid in pids for each in with_descendants(pid)]

    def close(self) -> None:
        """Stop every worker; children in training are given up."""
        self._closing.set()
        self._thread.join()
        self._dispatcher.close()
        if self._share is not None:
            self._share.close()

    def give_up(self) -> None:
        """Leave a Ray that is gone, which takes no orders; `ray.shutdown` releases what waits for it."""
        self._closing.set()
        self._dispatcher.give_up()

    def _follow(self) -> None:
        """Open and close workers as nodes and other searches come and go, and end those that stand still."""
        watchdog, watched_s = Watchdog(self._here), time.monotonic()
        while not self._closing.wait(NODES_EVERY_S):
            try:
                self._staff()
                if time.monotonic() - watched_s >= WATCH_EVERY_S:
                    watched_s = time.monotonic()
                    self._end_stopped(watchdog)
            except Exception as error:  # Ray's head may be away for a moment; if it is gone, the search ends
                _LOG.info("mnas: the nodes of the cluster cannot be seen: %s", error)

    def _end_stopped(self, watchdog: Watchdog) -> None:
        places = {place: slot for slot in self._dispatcher.slots() for place in slot.places()}
        for place in watchdog.look(places):
            _LOG.warning("mnas: a worker (process %d) was stopped and is ended; another one is started", place[1])
            places[place].end_stopped(place)

    def _staff(self) -> None:
        """Open and close workers by the room of the nodes and the share of the search."""
        nodes = training_nodes(ray.nodes(), self._device, self._settings.workers_per_npu)
        most = self._most
        if self._share is not None:
            # Of all nodes: each search finds out for itself which of them are fit for it, and all must divide the same.
            most = self._share.most_workers(sum(node.room for node in nodes.values()))
        self._dispatcher.staff(nodes if self._check is None else self._check.fit(nodes), most)

    def _open(self, among: frozenset[str]) -> WorkerSlot:
        # A number that is free again keeps its caches.
        number = next(each for each in count() if each not in self._slots or self._slots[each].closed)
        folder = None if self._folder is None else self._folder / f"worker-{number}"
        slot = self._slots[number] = WorkerSlot(self._images, replace(self._settings, folder=folder), among)
        return slot
