"""A worker that takes the time of a training and trains nothing: for clusters of several nodes on one machine."""

from __future__ import annotations

import os
import random
import time

import ray

from mnas.training.phases import PhaseTime
from mnas.workers.child import ChildResult
from mnas.workers.worker import ChildJob, ChildWorker, Reply

EPOCH_S = 0.25
LOG_VARIABLE = "MNAS_STAND_IN_LOG"
"""A file that gets a line for every training that begins: the seed of the child and Ray's node."""


class StandInWorker(ChildWorker):
    """A `ChildWorker` that sleeps `EPOCH_S` for each epoch; the name of the only phase of a result is its node."""

    def prepare(self) -> float:
        """Load nothing."""
        return time.process_time()

    def train(self, job: ChildJob) -> Reply:
        """Sleep; the accuracy follows from the seed."""
        node = ray.get_runtime_context().get_node_id()
        if path := os.environ.get(LOG_VARIABLE):
            with open(path, "a") as file:
                file.write(f"{job.seed} {node}\n")
        child_s = EPOCH_S * self._settings.training.epochs
        time.sleep(child_s)
        accuracy = random.Random(job.seed).uniform(0.3, 0.9)
        result = ChildResult(accuracy, 1.0, 1.0, 1, 1.0, {node: PhaseTime(child_s, 0.0)}, resident_mb=100.0)
        return Reply(result, resident_mb=100.0, cpu_s=time.process_time())
