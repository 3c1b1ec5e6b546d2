"""What does a trial cost the driver in a search of 10,000, and are 64 workers kept busy?

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.driver_cost --strategy random --trials 8000

The search is simulated (`mnas.search.simulation`): driver, store, controller and space are the real ones, children of
52 minutes and phones only take time, and 1% of the trainings fail. The CPU time of driver, store and controller is
shown for every 1,000 trials, the simulation's own share (about 1 ms) included; then the share of the time that the
workers trained, without the first and the last minute, the size of the store and the peak memory of the process. The
store does not wait for the disk.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import controllers
from mnas.reward import RewardSettings
from mnas.search.driver import Progress
from mnas.search.plan import SearchPlan
from mnas.search.simulation import Workload, simulate, spread_around
from mnas.search.store import TrialStore
from mnas.search.trial import Trial
from search_space import SearchSpace

WINDOW = 1000
LOAD = Workload(
    train_s=spread_around(3020, 0.25),
    compile_s=spread_around(100, 0.25),
    measure_s=spread_around(40, 0.3),
    failure_rate=0.01,
    phone_failure_rate=0.01,
)


class CpuWatch:
    """Prints the CPU time of every 1,000 trials."""

    def __init__(self) -> None:
        self._ended = 0
        self._since_s = time.process_time()

    def trial_finished(self, trial: Trial) -> None:
        """See `SearchObserver`."""
        self._ended += 1
        if self._ended % WINDOW == 0:
            now_s = time.process_time()
            cpu_ms = 1000 * (now_s - self._since_s) / WINDOW
            print(f"  trials to {self._ended:>6}: {cpu_ms:6.2f} ms of CPU each", flush=True)
            self._since_s = now_s

    def progress(self, progress: Progress) -> None:
        """See `SearchObserver`."""


def measure(strategy: str, trials: int, workers: int, phones: int) -> None:
    """Simulate one search and print what it cost."""
    space = SearchSpace.load("mnasnet")
    plan = SearchPlan(trials=trials, workers=workers, target_ms=75.0, reward=RewardSettings())
    controller = controllers.create_controller(strategy, space.decision_sizes, seed=0)
    print(f"{strategy}: {trials} trials, {workers} workers, {phones} phones")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.sqlite"
        began_s = time.perf_counter()
        found = simulate(plan, space, controller, LOAD, phones, path, observer=CpuWatch())
        took_s = time.perf_counter() - began_s
        store = TrialStore(path)
        began_s = time.perf_counter()
        for _ in range(100):
            store.best()
        best_ms = 10 * (time.perf_counter() - began_s)
        began_s = time.perf_counter()
        read = sum(1 for _ in store.iterate())
        read_ms = 1000 * (time.perf_counter() - began_s) / read
        store.close()
        size = path.stat().st_size
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    busy = found.busy_share(found.workers)
    print(f"  simulated {found.total_s / 3600:.1f} hours in {took_s:.0f} s; workers busy {busy:.2%}")
    print(
        f"  best trial {best_ms:.3f} ms, reading a trial {read_ms:.3f} ms; store {size / trials / 1000:.1f} kB a trial"
    )
    print(f"  peak memory {peak_mb:.0f} MB")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each strategy that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", action="append", choices=list(controllers.STRATEGIES), help="may be repeated")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--phones", type=int, default=2)
    options = parser.parse_args(arguments)
    for strategy in options.strategy or ["random", "ppo"]:
        measure(strategy, options.trials, options.workers, options.phones)


if __name__ == "__main__":
    main()
