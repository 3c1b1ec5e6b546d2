"""Children trained by Ray workers: the pool that a search hands its networks to."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray

from mnas.data import SearchData
from mnas.errors import FailureKind, TrialError
from mnas.experiment import SearchSettings
from mnas.mindspore_setup import Device
from mnas.training.settings import TrainingSettings
from mnas.workers.slot import WorkerSlot
from search_space import Architecture, architecture_to_dict


class ChildPool:
    """Workers that take children one by one; `submit` queues, the future holds the result or raises TrialError."""

    def __init__(
        self, data: SearchData, training: TrainingSettings, settings: SearchSettings, device: Device, workers: int
    ) -> None:
        self._settings = settings
        self._closing = False
        # Decoded images are put into Ray's object store once; workers of a node read them there without a copy.
        arguments = (ray.put(data), training, device)
        self._slots = [
            WorkerSlot(arguments, device, settings.worker_memory_mb, settings.workers_per_npu) for _ in range(workers)
        ]
        self._idle: queue.SimpleQueue[WorkerSlot] = queue.SimpleQueue()
        for slot in self._slots:
            self._idle.put(slot)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="child")

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        """Queue one child."""
        return self._threads.submit(self._train, architecture_to_dict(architecture), seed)

    def pids(self) -> list[int]:
        """Return the processes of the workers on this machine that have started.

        Those on other hosts disturb nothing here, and their process ids mean something else on this one.
        """
        here = ray.get_runtime_context().get_node_id()
        return [pid for slot in self._slots for node, pid in slot.places() if node == here]

    def close(self) -> None:
        """Stop every worker; children in training are given up."""
        self._closing = True
        for slot in self._slots:
            slot.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _train(self, architecture: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        slot = self._idle.get()
        try:
            return self._train_with_retries(slot, architecture, seed)
        finally:
            self._idle.put(slot)

    def _train_with_retries(self, slot: WorkerSlot, architecture: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        failure = TrialError(FailureKind.WORKER_DIED, "no attempt was made")
        for _ in range(self._settings.retries + 1):
            if self._closing:
                break
            try:
                reply = slot.train(architecture, seed, self._settings.child_timeout_s)
            except TrialError as error:
                if not self._closing:
                    slot.replace()
                failure = error
                if error.failure.kind not in (FailureKind.WORKER_DIED, FailureKind.OUT_OF_MEMORY):
                    break
                continue
            if reply.failure is not None:
                raise TrialError(reply.failure.kind, reply.failure.message)
            assert reply.result is not None
            return reply.result
        raise failure
