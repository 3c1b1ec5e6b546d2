"""What does a trial cost the controller in a search of 8,000?

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.search_cost --results FILE.csv

Each strategy proposes architectures of 40 decisions with 4 choices and is told a sum of random values, one for each
pair of neighbouring decisions. Of the trials up to 1,000, 4,000 and 8,000, the last 500 are shown: the mean and
the 95th percentile of the CPU time of ask and tell, updates of the policy included. The last column is the time
to take the state once, which a search stores with every result.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

import controllers

DECISION_SIZES = (4,) * 40
CHECKPOINTS = (1000, 4000, 8000)
WINDOW = 500


@dataclass(frozen=True)
class SearchCost:
    """CPU time of one strategy over the last trials before `trial`: a row of the results file."""

    strategy: str
    trial: int
    mean_ms: float
    """Of ask and tell together."""
    percentile_95_ms: float
    state_ms: float
    """Of one state with its bytes, after that trial."""


def measure(strategy: str, checkpoints: Sequence[int], window: int, seed: int = 0) -> list[SearchCost]:
    """Run one strategy up to the last checkpoint."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(len(DECISION_SIZES) - 1, max(DECISION_SIZES), max(DECISION_SIZES)))
    controller = controllers.create_controller(strategy, DECISION_SIZES, seed=seed)
    trial_ms: list[float] = []
    costs = []
    for trial in range(1, max(checkpoints) + 1):
        started_s = time.process_time()
        proposals = controller.ask(1)
        asked_s = time.process_time()
        rewards = [
            float(values[np.arange(len(DECISION_SIZES) - 1), proposal[:-1], proposal[1:]].sum())
            for proposal in proposals
        ]
        told_s = time.process_time()
        controller.tell(proposals, rewards)
        trial_ms.append(1e3 * (time.process_time() - told_s + asked_s - started_s))
        if trial in checkpoints:
            latest = np.array(trial_ms[-window:])
            started_s = time.process_time()
            controllers.state_to_bytes(controller.state())
            state_ms = 1e3 * (time.process_time() - started_s)
            costs.append(
                SearchCost(strategy, trial, float(latest.mean()), float(np.percentile(latest, 95)), state_ms),
            )
    return costs


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each strategy and number of trials."""
    names = list(controllers.STRATEGIES)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", action="append", choices=names, help="measure this one only (may be repeated)")
    parser.add_argument("--results", type=Path, metavar="FILE.csv")
    options = parser.parse_args(arguments)
    print(f"{'strategy':24}{'trial':>8}{'mean ms':>10}{'95% ms':>10}{'state ms':>10}")
    costs = []
    for name in options.strategy or names:
        for cost in measure(name, CHECKPOINTS, WINDOW):
            print(
                f"{name:24}{cost.trial:>8}{cost.mean_ms:>10.2f}{cost.percentile_95_ms:>10.2f}{cost.state_ms:>10.2f}",
                flush=True,
            )
            costs.append(cost)
    if options.results:
        with open(options.results, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(SearchCost))
            for cost in costs:
                writer.writerow(f"{value:.4g}" if isinstance(value, float) else value for value in astuple(cost))


if __name__ == "__main__":
    main()
