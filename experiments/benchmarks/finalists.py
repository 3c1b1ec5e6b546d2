"""Does training the finalists of a search again find the better network, and is the stated probability true?

    python -m experiments.benchmarks.finalists --tables DIR --searches 2000 --results FILE.json
    python -m experiments.benchmarks.finalists --tables DIR --searches 2000 --extra-trainings 200 --results FILE.json

Random searches are simulated on NAS-Bench-Macro (6,561 networks, three real trainings each; see `search_tables.py`).
The true accuracy of a network is the mean of its three; a training gives it with the deviation of a real training from
its mean, drawn from the networks of similar accuracy. Each search has the same total number of trainings, spent in
three ways:

    single     all on new networks; the highest single accuracy wins
    equal      some on the finalists, the same number each; the highest mean wins
    finalists  some where they matter most, by `mnas.search.finalists`, until the confidence is reached

The loss is the true accuracy of the best of all networks, those that only `single` tries included, less the winner's.
Overstated is the winner's accuracy as said less its true one. A way that says no probability and no interval has no
numbers for them.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from controllers.arrays import DecisionArray, Floats
from mnas.search.finalists import Posterior

NEIGHBOURS = 200
"""Networks of similar accuracy whose trainings give the noise."""


@dataclass(frozen=True)
class Plan:
    """How the trainings of a search are spent.

    Attributes:
        searched: Networks that are tried before there are finalists.
        finalists: Networks that are trained again.
        extra_trainings: Trainings of finalists, at most.
        confidence: The probability of being the best with which the trainings of finalists end.
    """

    searched: int
    finalists: int
    extra_trainings: int
    confidence: float

    @property
    def trainings(self) -> int:
        """Trainings in all, at most."""
        return self.searched + self.extra_trainings


@dataclass(frozen=True)
class Said:
    """What a search says of the finalist that it names, and whether it is true.

    Attributes:
        probability_best: The stated probability that it is the best finalist.
        is_best: Whether it is.
        is_confident: Whether the stated probability has reached the confidence.
        is_covered: Whether the stated interval holds the true accuracy.
    """

    probability_best: float
    is_best: bool
    is_confident: bool
    is_covered: bool


@dataclass(frozen=True)
class Named:
    """What a search names as its best.

    Attributes:
        loss: Percentage points of true accuracy below the best network of the pool.
        overstated: Percentage points of the stated accuracy above the true one.
        extra_trainings: Trainings of finalists.
        said: What is said of it; None if nothing is.
    """

    loss: float
    overstated: float
    extra_trainings: int = 0
    said: Said | None = None


class Trainings:
    """Simulated trainings of the networks of a table."""

    def __init__(self, accuracies: Floats) -> None:
        self.true = accuracies.mean(axis=1)
        order = np.argsort(self.true)
        # A deviation from the mean of n is smaller than from the true mean by sqrt(1 - 1/n).
        deviations = (accuracies - self.true[:, None])[order] / math.sqrt(1 - 1 / accuracies.shape[1])
        self._deviations = deviations
        self._rank = np.empty(len(order), int)
        self._rank[order] = np.arange(len(order))

    def train(self, networks: DecisionArray, generator: np.random.Generator) -> Floats:
        """Return an accuracy of each network."""
        lowest = np.clip(self._rank[networks] - NEIGHBOURS // 2, 0, len(self._rank) - NEIGHBOURS)
        near = lowest + generator.integers(NEIGHBOURS, size=len(networks))
        column = generator.integers(self._deviations.shape[1], size=len(networks))
        accuracies: Floats = self.true[networks] + self._deviations[near, column]
        return accuracies


def by_single(trainings: Trainings, pool: DecisionArray, plan: Plan, generator: np.random.Generator) -> Named:
    """Name the network with the highest single accuracy."""
    accuracies = trainings.train(pool, generator)
    winner = int(accuracies.argmax())
    return Named(_loss(trainings, pool, pool[winner]), float(accuracies[winner] - trainings.true[pool[winner]]))


def by_equal_seeds(trainings: Trainings, pool: DecisionArray, plan: Plan, generator: np.random.Generator) -> Named:
    """Name the finalist with the highest mean of equally many fresh trainings."""
    finalists = _finalists(trainings, pool, plan, generator)
    each = plan.extra_trainings // plan.finalists
    means = np.mean([trainings.train(finalists, generator) for _ in range(each)], axis=0)
    winner = finalists[means.argmax()]
    return Named(_loss(trainings, pool, winner), float(means.max() - trainings.true[winner]), each * plan.finalists)


def by_finalists(trainings: Trainings, pool: DecisionArray, plan: Plan, generator: np.random.Generator) -> Named:
    """Name the finalist that `mnas.search.finalists` names."""
    finalists = _finalists(trainings, pool, plan, generator)
    rewards: list[list[float]] = [[] for _ in finalists]
    for number, finalist in enumerate(finalists):
        rewards[number] += trainings.train(np.array([finalist]), generator).tolist()
    while True:
        posterior = Posterior(rewards, seed=0)
        leader = int(posterior.probabilities_best().argmax())
        spent = sum(map(len, rewards))
        is_confident = bool(posterior.probabilities_best()[leader] >= plan.confidence)
        if is_confident or spent >= plan.extra_trainings:
            break
        number = posterior.next_training([0] * len(finalists))
        rewards[number] += trainings.train(finalists[number : number + 1], generator).tolist()
    winner, standing = int(finalists[leader]), posterior.standings()[leader]
    true = float(trainings.true[winner])
    said = Said(
        standing.probability_best,
        winner == finalists[trainings.true[finalists].argmax()],
        is_confident,
        standing.low <= true <= standing.high,
    )
    return Named(_loss(trainings, pool, winner), standing.estimate - true, spent, said)


def _finalists(trainings: Trainings, pool: DecisionArray, plan: Plan, generator: np.random.Generator) -> DecisionArray:
    searched = pool[: plan.searched]
    finalists: DecisionArray = searched[np.argsort(-trainings.train(searched, generator))[: plan.finalists]]
    return finalists


def _loss(trainings: Trainings, pool: DecisionArray, winner: int) -> float:
    return float(trainings.true[pool].max() - trainings.true[winner])


WAYS: dict[str, Callable[[Trainings, DecisionArray, Plan, np.random.Generator], Named]] = {
    "single": by_single,
    "equal": by_equal_seeds,
    "finalists": by_finalists,
}


def summary(named: Sequence[Named]) -> dict[str, Any]:
    """Return means over searches, with the standard errors of some."""
    losses = [one.loss for one in named]
    found = {
        "loss": fmean(losses),
        "loss_error": stdev(losses) / math.sqrt(len(losses)),
        "overstated": fmean(one.overstated for one in named),
        "extra_trainings": fmean(one.extra_trainings for one in named),
    }
    if said := [one.said for one in named if one.said is not None]:
        confident = [one for one in said if one.is_confident]
        found |= {"interval_covers": fmean(one.is_covered for one in said)} | _calibration("", said)
        found |= {"confident_searches": len(confident)} | (_calibration("confident_", confident) if confident else {})
    return {name: round(value, 4) for name, value in found.items()}


def _calibration(prefix: str, said: Sequence[Said]) -> dict[str, float]:
    share = fmean(one.is_best for one in said)
    return {
        f"{prefix}probability_best": fmean(one.probability_best for one in said),
        f"{prefix}is_best": share,
        f"{prefix}is_best_error": math.sqrt(share * (1 - share) / len(said)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate the searches and print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, metavar="DIR", help="folder of the data")
    parser.add_argument("--searches", type=int, default=2000)
    parser.add_argument("--searched", type=int, default=200, help="trainings of a search before its finalists")
    parser.add_argument("--finalists", type=int, default=10)
    parser.add_argument("--extra-trainings", type=int, default=30, help="of finalists, at most")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--results", type=Path, metavar="FILE.json")
    options = parser.parse_args(arguments)
    plan = Plan(options.searched, options.finalists, options.extra_trainings, options.confidence)
    with open(options.tables / "nas_bench_macro_cifar10.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    trainings = Trainings(np.array([[float(row[f"acc{number}"]) for number in range(3)] for row in rows]))
    results = {}
    for way, name_best in WAYS.items():
        named = []
        for search in range(options.searches):
            generator = np.random.default_rng(search)
            pool = generator.choice(len(trainings.true), size=plan.trainings, replace=False)
            named.append(name_best(trainings, pool, plan, generator))
        results[way] = summary(named)
        print(f"{way:10}" + ", ".join(f"{name} {value:g}" for name, value in results[way].items()), flush=True)
    if options.results:
        found = {"plan": asdict(plan), "searches": options.searches, **results}
        options.results.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
