"""Children trained by Ray workers: the pool that a search hands its networks to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from mnas.data import SearchData
from mnas.experiment import SearchSettings
from mnas.mindspore_setup import AscendSettings, Compute, Device
from mnas.training.rungs import Rung
from mnas.training.settings import TrainingSettings
from mnas.workers.attempts import DOUBTFUL_ON, NodeTurns, train_on
from mnas.workers.npu import with_descendants
from mnas.workers.slot import WorkerSlot
from mnas.workers.worker import ChildJob, WorkerSettings
from search_space import Architecture


class ChildPool:
    """Workers that train children, one at a time each."""

    def __init__(
        self,
        data: SearchData,
        training: TrainingSettings,
        settings: SearchSettings,
        device: Device,
        workers: int,
        *,
        ascend: AscendSettings = AscendSettings(),
        micro_batch_size: int | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start the workers; the Ray cluster must have room for them (see `worker_count`).

        Args:
            data: The images.
            training: How a child is trained.
            settings: How failures are handled, and when a worker is replaced.
            device: What the children are trained on.
            workers: Number of workers.
            ascend: How MindSpore computes on an NPU.
            micro_batch_size: Images of a child that go through the device at a time; None takes whole batches.
            folder: Where CANN keeps logs and caches, a folder for each worker; None leaves them where CANN puts them.
        """
        self._device: Device = device
        self._retries = settings.retries
        self._closing = threading.Event()
        self._turns = NodeTurns()
        worker = WorkerSettings(
            training=training,
            compute=Compute.of_worker(device, ascend),
            child_timeout_s=settings.child_timeout_s,
            memory_mb=settings.worker_memory_mb,
            max_children=settings.worker_children,
            workers_per_npu=settings.workers_per_npu,
            micro_batch_size=micro_batch_size,
            max_weights_bytes=settings.max_weights_bytes,
            learning_curves=settings.learning_curves,
        )
        # Decoded images are put into Ray's object store once; workers of a node read them there without a copy.
        images = ray.put(data)
        folders = [None if folder is None else folder / f"worker-{number}" for number in range(workers)]
        self._slots = [WorkerSlot(images, replace(worker, folder=each)) for each in folders]
        self._idle: queue.SimpleQueue[WorkerSlot] = queue.SimpleQueue()
        for slot in self._slots:
            self._idle.put(slot)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="child")

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
        return self._threads.submit(self._train, ChildJob(architecture, seed, rungs))

    def pids(self) -> list[int]:
        """Return the processes of the workers on this machine that have started, and on Ascend those that they started.

        CANN's operator compiler works in processes of its own.

        Those on other hosts disturb nothing here, and their process ids mean something else on this one.
        """
        here = ray.get_runtime_context().get_node_id()
        pids = [pid for slot in self._slots for node, pid in slot.places() if node == here]
        return pids if self._device == "CPU" else [each for pid in pids for each in with_descendants(pid)]

    def close(self) -> None:
        """Stop every worker; children in training are given up."""
        self._closing.set()
        for slot in self._slots:
            slot.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def give_up(self) -> None:
        """Leave a Ray that is gone, which takes no orders; `ray.shutdown` releases what waits for it."""
        self._closing.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _train(self, job: ChildJob) -> Mapping[str, Any]:
        slot = self._idle.get()
        try:
            doubtful = DOUBTFUL_ON[self._device]
            result, began_at = train_on(slot, job, self._retries, self._turns, self._closing, doubtful)
            return replace(result, started_at=began_at).record()
        finally:
            self._idle.put(slot)
