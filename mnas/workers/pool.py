"""Children trained by Ray workers: the pool that a search hands its networks to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import ray

from mnas.data import SearchData
from mnas.experiment import SearchSettings
from mnas.mindspore_setup import Compute, Device
from mnas.training.settings import TrainingSettings
from mnas.workers.attempts import NodeTurns, train_child_on
from mnas.workers.slot import WorkerSlot
from mnas.workers.worker import ChildJob, WorkerSettings
from search_space import Architecture


class ChildPool:
    """Workers that train children, one at a time each."""

    def __init__(
        self, data: SearchData, training: TrainingSettings, settings: SearchSettings, device: Device, workers: int
    ) -> None:
        """Start the workers; the Ray cluster must have room for them (see `worker_count`)."""
        self._retries = settings.retries
        self._closing = threading.Event()
        self._turns = NodeTurns()
        worker = WorkerSettings(
            training=training,
            compute=Compute.of_worker(device),
            child_timeout_s=settings.child_timeout_s,
            memory_mb=settings.worker_memory_mb,
            workers_per_npu=settings.workers_per_npu,
        )
        # Decoded images are put into Ray's object store once; workers of a node read them there without a copy.
        images = ray.put(data)
        self._slots = [WorkerSlot(images, worker) for _ in range(workers)]
        self._idle: queue.SimpleQueue[WorkerSlot] = queue.SimpleQueue()
        for slot in self._slots:
            self._idle.put(slot)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="child")

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        """Queue one child.

        Returns:
            A future of the fields of its `ChildResult` as a JSON-able mapping, or of a TrialError.
        """
        return self._threads.submit(self._train, ChildJob(architecture, seed))

    def pids(self) -> list[int]:
        """Return the processes of the workers on this machine that have started.

        Those on other hosts disturb nothing here, and their process ids mean something else on this one.
        """
        here = ray.get_runtime_context().get_node_id()
        return [pid for slot in self._slots for node, pid in slot.places() if node == here]

    def close(self) -> None:
        """Stop every worker; children in training are given up."""
        self._closing.set()
        for slot in self._slots:
            slot.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _train(self, job: ChildJob) -> Mapping[str, Any]:
        slot = self._idle.get()
        try:
            return asdict(train_child_on(slot, job, self._retries, self._turns, self._closing))
        finally:
            self._idle.put(slot)
