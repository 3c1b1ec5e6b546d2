"""Does a search keep 16 Ray workers busy for 10,000 trials, and what does a trial cost its process?

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.ray_scale --trials 10000 --strategy random --folder NEW

Driver, controller, store, pool and Ray are the real ones. The workers are those of a search, except that a child sleeps
for a second in place of training, and a latency costs nothing. Ray is told that the machine has a core for every
worker. Shown are the wall time of the search against children x seconds / workers, the CPU time of its process for
every 1,000 trials (Ray's threads in it included, its other processes not), peak memory and the size of the store. The
workers start before the clock does.

    python -m experiments.benchmarks.ray_scale --peer ray-tune --python PYTHON --trials 1000

does the same with Ray Tune, in an environment that has `ray[tune]` (see `ray_tune_peer`).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import controllers
from experiments.benchmarks.driver_cost import CpuWatch
from mnas.experiment import Experiment
from mnas.search.run_directory import DATABASE
from mnas.workers.child import ChildResult
from mnas.workers.cluster import ray_cluster
from mnas.workers.pool import ChildPool
from mnas.workers.worker import ChildJob, ChildWorker, Reply, WorkerSettings, die_with_parent
from search_space import Architecture

CHILD_VARIABLE = "MNAS_RAY_SCALE_CHILD_S"
"""Environment variable of the workers: how long a child sleeps, in seconds."""


class SleepingWorker(ChildWorker):
    """A worker whose children sleep; it loads no MindSpore and takes no core."""

    def __init__(self, data: object, settings: WorkerSettings) -> None:
        """Take the time of a child from the environment."""
        self._child_s = float(os.environ[CHILD_VARIABLE])
        die_with_parent()

    def prepare(self) -> float:
        """See `ChildWorker`."""
        return time.process_time()

    def train(self, job: ChildJob) -> Reply:
        """Sleep."""
        time.sleep(self._child_s)
        accuracy = 0.5 + 0.5 * (job.seed % 997) / 997
        result = ChildResult(
            accuracy=accuracy, loss=1.0, train_loss=1.0, steps=100, images_per_s=100.0, phases={}, resident_mb=100.0
        )
        return Reply(result, resident_mb=100.0, cpu_s=time.process_time())


@dataclass(frozen=True)
class ReadyLatency:
    """A phone that knows every latency."""

    latency_ms: float

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """See `LatencyMeter`."""
        future: Future[Mapping[str, Any]] = Future()
        future.set_result({"latency_ms": self.latency_ms})
        return future


def measure(strategy: str, trials: int, workers: int, child_s: float, directory: Path) -> None:
    """Carry out one search and print what it took."""
    changes = {
        "space": "mnasnet",
        "controller.name": strategy,
        "search.trials": trials,
        "search.workers": workers,
        "search.keep_weights": "none",
    }
    experiment = Experiment.load("quickstart").changed(changes)
    os.environ[CHILD_VARIABLE] = str(child_s)
    print(f"{strategy}: {trials} trials of {child_s:g} s, {workers} workers", flush=True)
    with patch("mnas.workers.slot.ChildWorker", SleepingWorker), ray_cluster(experiment.search):
        data = experiment.data.load_search()
        pool = ChildPool(data, experiment.training, experiment.search, experiment.device, workers)
        while len(pool.pids()) < workers:
            time.sleep(0.1)
        began_s = time.perf_counter()
        run = experiment.run(directory, trainer=pool, latency=ReadyLatency(75.0), observer=CpuWatch())
        took_s = time.perf_counter() - began_s
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        pool.close()
    trained = sum(trial.repeat_of is None for trial in run.trials)
    print(f"  {trials - trained} trials proposed a network again, and nothing was trained for them")
    print_time(took_s, trained * child_s / workers)
    size_kb = (directory / DATABASE).stat().st_size / 1000
    print(f"  store {size_kb / trials:.2f} kB a trial; peak memory of the process {peak_mb:.0f} MB")


def print_time(took_s: float, ideal_s: float) -> None:
    """Print a wall time and how far it is above the ideal one."""
    print(f"  {took_s:.1f} s, {took_s / ideal_s - 1:+.1%} of the ideal {ideal_s:.1f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one search, or a peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", choices=list(controllers.STRATEGIES), default="random")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--child-s", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="the run directory of the search; new")
    parser.add_argument("--peer", choices=["ray-tune"])
    parser.add_argument("--python", default=sys.executable, help="of the environment that the peer is in")
    options = parser.parse_args(arguments)
    if options.peer:
        peer = [options.python, "-m", "experiments.benchmarks.ray_tune_peer"]
        sizes = [f"--trials={options.trials}", f"--workers={options.workers}", f"--child-s={options.child_s}"]
        subprocess.run([*peer, *sizes], check=True)
        return
    if options.folder is None:
        parser.error("--folder: name a new run directory")
    measure(options.strategy, options.trials, options.workers, options.child_s, options.folder)


if __name__ == "__main__":
    main()
