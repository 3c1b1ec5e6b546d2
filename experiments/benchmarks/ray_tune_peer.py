"""The same sleeping children under Ray Tune; see `experiments.benchmarks.ray_scale`, which runs this.

It needs `ray[tune]` and nothing of mnas. The function that is timed is that of Ray's own test of Tune's bookkeeping
(10,000 trials of one second on 16 cores, with actors that are reused).
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


def measure(trials: int, workers: int, child_s: float) -> None:
    """Carry out one search of Ray Tune and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "RAY_USAGE_STATS_ENABLED": "0",
            # As in Ray's test: the state of the experiment is written every 100 s, not at every trial.
            "TUNE_GLOBAL_CHECKPOINT_S": "100",
            "TEST_OUTPUT_JSON": str(Path(folder) / "test.json"),
        }
        import ray
        from ray.tune.utils.release_test_util import timed_tune_run

        print(f"Ray Tune {ray.__version__}: {trials} trials of {child_s:g} s, {workers} workers", flush=True)
        ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        timed_tune_run("sleeping", trials, 1 / child_s, child_s, storage_path=str(Path(folder) / "runs"), verbose=0)
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        ray.shutdown()
    ideal_s = trials * child_s / workers
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"  {took_s:.1f} s, {took_s / ideal_s - 1:+.1%} of the ideal {ideal_s:.1f} s")
    print(f"  {1000 * cpu_s / trials:.2f} ms of CPU each; peak memory of the process {peak_mb:.0f} MB")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--child-s", type=float, default=1.0)
    options = parser.parse_args(arguments)
    measure(options.trials, options.workers, options.child_s)


if __name__ == "__main__":
    main()
