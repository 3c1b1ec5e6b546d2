"""The same sleeping children under Ray Tune; see `experiments.benchmarks.ray_scale`, which runs this.

It needs `ray[tune]` and nothing of mnas. The settings are those of Ray's own scalability test of Tune's bookkeeping
(10,000 trials of one second on 16 cores), with actors that are reused, which is faster.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from typing import Any

THREADS_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def measure(trials: int, workers: int, child_s: float) -> None:
    """Carry out one search of Ray Tune and print what it took."""
    # As Ray's own test: the state of the experiment is written every 100 s, not at every trial.
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "100"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.update(dict.fromkeys(THREADS_VARIABLES, "1"))
    import ray
    from ray import tune

    class Sleeping(tune.Trainable):
        """A child that sleeps."""

        def setup(self, config: dict[str, Any]) -> None:
            """Nothing."""

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            """Take another child."""
            return True

        def step(self) -> dict[str, Any]:
            """Sleep."""
            time.sleep(child_s)
            return {"accuracy": 0.5, "done": True}

    print(f"Ray Tune {ray.__version__}: {trials} trials of {child_s:g} s, {workers} workers", flush=True)
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    space = {f"d{place}": tune.randint(0, 4) for place in range(28)}
    with tempfile.TemporaryDirectory() as folder:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        tuner = tune.Tuner(
            tune.with_resources(Sleeping, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True, metric="accuracy", mode="max"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        ended = len(tuner.fit())
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    ideal_s = trials * child_s / workers
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"  {took_s:.1f} s, {took_s / ideal_s - 1:+.1%} of the ideal {ideal_s:.1f} s; {ended} trials ended")
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
