"""How much does a search find for each epoch of its children, with and without `search.halving`?

    python -m experiments.benchmarks.halving curves FILE.json --run-dir RUN --experiment cifar10 \
        --set data.train_images=2000 --epochs 6 --networks 60
    python -m experiments.benchmarks.halving table FILE.json --searches 200 --results RESULTS.json
    python -m experiments.benchmarks.halving search RUNS --experiment cifar10 --set data.directory=DIR --epochs 6 \
        --child-epochs 144 --results RESULTS.json

`curves` is a search of random networks that are not timed; the file gets their accuracies on the reward set after every
epoch, those of a run that was interrupted too. The same command goes on with it. `table` carries out searches on these
networks, in random orders: the driver is the real one, a training is looked up, and the reward is the accuracy.
`search` carries out real searches, the same command goes on with them, and each way of a seed is cut at the same number
of child-epochs.

What is compared is the highest reward among the children that were trained to the end, by the child-epochs that all
children had by then. An evaluation at a rung counts as nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from controllers import Decisions
from controllers.controller import StateValue
from mnas.experiment import Experiment
from mnas.files import write_atomically
from mnas.ranks import kendall_tau
from mnas.reward import RewardSettings
from mnas.search.driver import Search, SilentObserver
from mnas.search.halving import Halving, epochs_trained, rung_epochs
from mnas.search.plan import SearchPlan
from mnas.search.run import Run
from mnas.search.store import TrialStore
from mnas.search.trial import Trial
from mnas.training.rungs import Rung, RungResult
from search_space import Architecture, SearchSpace, fingerprint

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Shares of the child-epochs at which the ways are compared."""
HALVINGS = ((1, 2), (1, 3), (1, 4), (2, 2), (2, 3), (3, 2), (3, 3))
"""First epochs and reductions."""


class Untimed:
    """A phone on which every network takes 1 ms."""

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """See `LatencyMeter`."""
        return done({"latency_ms": 1.0})


def done(result: Mapping[str, Any]) -> Future[Mapping[str, Any]]:
    """Return a future that has ended."""
    future: Future[Mapping[str, Any]] = Future()
    future.set_result(result)
    return future


def train_curves(path: Path, run_dir: Path, name: str, changes: Mapping[str, Any], networks: int, epochs: int) -> None:
    """Train random networks, or go on with them, and write their accuracies after every epoch."""
    own = {
        "training.epochs": epochs,
        "controller.name": "random",
        "search.trials": networks,
        "search.learning_curves": True,
    }
    try:
        Experiment.load(name).changed({**changes, **own}).run(run_dir, latency=Untimed())
    finally:
        write_curves(path, Run.open(run_dir), name, changes)


def write_curves(path: Path, run: Run, name: str, changes: Mapping[str, Any]) -> None:
    """Write the accuracies after every epoch of the networks that a run has trained."""
    trained = [trial for trial in run.trials if trial.state == "complete" and trial.repeat_of is None]
    known = [
        {"decisions": list(trial.decisions), "accuracies": (trial.training or {})["epoch_accuracies"]}
        for trial in trained
    ]
    epochs = run.experiment.training.epochs
    table = {"experiment": name, "changes": dict(changes), "epochs": epochs, "networks": known}
    write_atomically(path, (json.dumps(table) + "\n").encode())
    print(f"{path}: {len(trained)} networks")


@dataclass
class InOrder:
    """A controller that proposes given networks in their order."""

    proposals: Sequence[Decisions]
    asked: int = 0

    def ask(self, count: int, /) -> list[Decisions]:
        """Return the next networks."""
        self.asked += count
        return list(self.proposals[self.asked - count : self.asked])

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float], /) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, StateValue]:
        """Return how many were asked for."""
        return {"asked": self.asked}

    def restore(self, state: dict[str, StateValue], /) -> None:
        """Go on from a state."""
        self.asked = int(str(state["asked"]))


@dataclass(frozen=True)
class Curves:
    """A trainer that looks accuracies up, and a phone on which every network takes 1 ms.

    Attributes:
        accuracies: After every epoch, by the fingerprint of a network.
    """

    accuracies: Mapping[str, Sequence[float]]

    def submit(self, architecture: Architecture, seed: int = 0) -> Future[Mapping[str, Any]]:
        """Return a whole training and the latency."""
        return self.submit_with_rungs(architecture, seed, ())

    def submit_with_rungs(
        self, architecture: Architecture, seed: int, rungs: tuple[Rung, ...]
    ) -> Future[Mapping[str, Any]]:
        """Return a training that may be stopped."""
        curve = self.accuracies[fingerprint(architecture)]
        reached: list[dict[str, Any]] = []
        accuracy, stopped = curve[-1], False
        for rung in rungs:
            result = RungResult(rung.epoch, curve[rung.epoch - 1], rung.least_accuracy)
            reached.append({"epoch": rung.epoch, "accuracy": result.accuracy, "least_accuracy": rung.least_accuracy})
            if stopped := result.is_behind:
                accuracy = result.accuracy
                break
        return done({"accuracy": accuracy, "latency_ms": 1.0, "rungs": reached, "stopped": stopped})


@dataclass(frozen=True)
class Spending:
    """The highest reward of a search by the child-epochs spent.

    Attributes:
        epochs: Child-epochs when a child ended, ascending.
        best: The highest reward of a whole training by then; 0 before the first.
    """

    epochs: Sequence[int]
    best: Sequence[float]

    def at(self, epochs: float) -> float:
        """Return the highest reward that this many child-epochs gave."""
        return max((best for spent, best in zip(self.epochs, self.best, strict=True) if spent <= epochs), default=0.0)


def spending(trials: Iterable[Trial], epochs: int) -> Spending:
    """Return what a search found by what it had spent, its trials in order of their ends."""
    spent, best = [0], [0.0]
    ended = (trial for trial in trials if trial.finished_at is not None)
    for trial in sorted(ended, key=lambda one: (one.finished_at or "", one.id)):
        trained = 0 if trial.training is None else epochs_trained(trial, epochs)
        reward = trial.reward if trial.state == "complete" and trial.reward is not None else 0.0
        spent.append(spent[-1] + trained)
        best.append(max(best[-1], reward))
    return Spending(spent, best)


def search_table(path: Path, searches: int, workers: int) -> dict[str, Any]:
    """Carry out searches on a table of curves, each in its own order of the networks, without and with halving."""
    table = json.loads(path.read_text())
    epochs, space = int(table["epochs"]), SearchSpace.load(Experiment.load(table["experiment"]).space)
    decisions = [tuple(network["decisions"]) for network in table["networks"]]
    curves = {
        fingerprint(space.decode(one)): network["accuracies"]
        for one, network in zip(decisions, table["networks"], strict=True)
    }
    plan = SearchPlan(trials=len(decisions), workers=workers, target_ms=1.0, reward=RewardSettings(alpha=0.0, beta=0.0))
    ways: dict[str, Halving | None] = {"whole": None}
    for first, reduction in HALVINGS:
        ways[_way(first, reduction)] = Halving(rung_epochs(first, reduction, epochs), reduction, epochs)
    found: dict[str, list[Spending]] = {way: [] for way in ways}
    for search in range(searches):
        order = np.random.default_rng(search).permutation(len(decisions))
        for way, halving in ways.items():
            proposing = InOrder([decisions[number] for number in order])
            found[way].append(_searched(plan, halving, space, proposing, Curves(curves), epochs))
    whole_epochs = epochs * len(decisions)
    by_epoch = list(zip(*(network["accuracies"] for network in table["networks"]), strict=True))
    return {
        "networks": len(decisions),
        "epochs": epochs,
        "searches": searches,
        "workers": workers,
        "tau": [kendall_tau(each, by_epoch[-1]) for each in by_epoch],
        "ways": {way: _summary(found[way], found["whole"], whole_epochs) for way in ways},
    }


def _way(first_epochs: int, reduction: int) -> str:
    return f"first {first_epochs}, reduction {reduction}"


def _searched(
    plan: SearchPlan, halving: Halving | None, space: SearchSpace, proposing: InOrder, curves: Curves, epochs: int
) -> Spending:
    with tempfile.TemporaryDirectory() as folder:
        store = TrialStore(Path(folder) / "trials.sqlite", create=True, durable=False)
        Search(replace(plan, halving=halving), space, proposing, store, curves, curves, SilentObserver()).run()
        trials = store.trials()
        store.close()
    return spending(trials, epochs)


def _summary(found: Sequence[Spending], whole: Sequence[Spending], epochs: int) -> dict[str, Any]:
    """Return mean rewards at shares of the child-epochs, and what they are above those of whole trainings."""
    points = {}
    for share in SHARES:
        rewards = np.array([one.at(share * epochs) for one in found])
        gains = rewards - np.array([one.at(share * epochs) for one in whole])
        error = float(gains.std(ddof=1) / math.sqrt(len(gains))) if len(gains) > 1 else None
        points[f"{share * epochs:g}"] = {
            "reward": round(float(rewards.mean()), 5),
            "gain": round(float(gains.mean()), 5),
            "gain_error": None if error is None else round(error, 5),
        }
    return {"child_epochs": float(np.mean([one.epochs[-1] for one in found])), "at_child_epochs": points}


def search_really(
    runs: Path, name: str, changes: Mapping[str, Any], epochs: int, child_epochs: int, seeds: int, reduction: int
) -> dict[str, Any]:
    """Carry out, or go on with, searches without and with halving; each has at least this many child-epochs."""
    found: dict[str, list[Spending]] = {"whole": [], _way(1, reduction): []}
    whole = math.ceil(child_epochs / epochs)
    for seed in range(seeds):
        for way in found:
            # Halving spends less on a trial: how much less is seen when it is done, so trials are added.
            trials = whole
            while True:
                own = {"seed": seed, "training.epochs": epochs, "search.trials": trials}
                if way != "whole":
                    own |= {"search.halving.first_epochs": 1, "search.halving.reduction": reduction}
                experiment = Experiment.load(name).changed({**changes, **own})
                directory = runs / f"{'whole' if way == 'whole' else 'halving'}-seed-{seed}"
                done = len(Run.open(directory).trials) if directory.is_dir() else 0
                if done < trials or Run.open(directory).counts()["proposed"]:
                    experiment.run(directory)
                spent = spending(Run.open(directory).trials, epochs)
                if spent.epochs[-1] >= child_epochs:
                    break
                trials += max(2, (child_epochs - spent.epochs[-1]) // epochs)
            found[way].append(spent)
            print(f"seed {seed}, {way}: {trials} trials, {spent.at(child_epochs):.4f}", flush=True)
    return {
        "experiment": name,
        "changes": dict(changes),
        "epochs": epochs,
        "seeds": seeds,
        "ways": {way: _summary(found[way], found["whole"], child_epochs) for way in found},
    }


def print_ways(results: Mapping[str, Any]) -> None:
    """Print how the networks rank after each epoch as after the last, if that is known, and a line for each way."""
    if "tau" in results:
        known = ("none" if tau is None else f"{tau:.2f}" for tau in results["tau"])
        print(f"Kendall's tau of the accuracies after each epoch with the last ones: {', '.join(known)}")
    for way, summary in results["ways"].items():
        points = [
            f"{epochs} {point['reward']:.4f} ({point['gain']:+.4f})"
            for epochs, point in summary["at_child_epochs"].items()
        ]
        print(f"{way:20} {summary['child_epochs']:7.1f} child-epochs; reward at: {', '.join(points)}")


def _change(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    curves = parts.add_parser("curves")
    curves.add_argument("file", type=Path)
    curves.add_argument("--run-dir", type=Path, required=True)
    curves.add_argument("--experiment", default="cifar10")
    curves.add_argument("--set", action="append", default=[], type=_change, metavar="KEY=VALUE")
    curves.add_argument("--networks", type=int, default=60)
    curves.add_argument("--epochs", type=int, default=6)
    table = parts.add_parser("table")
    table.add_argument("file", type=Path)
    table.add_argument("--searches", type=int, default=200)
    table.add_argument("--workers", type=int, default=1)
    table.add_argument("--results", type=Path)
    search = parts.add_parser("search")
    search.add_argument("runs", type=Path)
    search.add_argument("--experiment", default="cifar10")
    search.add_argument("--set", action="append", default=[], type=_change, metavar="KEY=VALUE")
    search.add_argument("--epochs", type=int, default=6)
    search.add_argument("--child-epochs", type=int, default=144)
    search.add_argument("--seeds", type=int, default=3)
    search.add_argument("--reduction", type=int, default=3)
    search.add_argument("--results", type=Path)
    options = parser.parse_args(arguments)
    if options.part == "curves":
        changes = dict(options.set)
        train_curves(options.file, options.run_dir, options.experiment, changes, options.networks, options.epochs)
        return
    if options.part == "table":
        results = search_table(options.file, options.searches, options.workers)
    else:
        changes = dict(options.set)
        results = search_really(
            options.runs,
            options.experiment,
            changes,
            options.epochs,
            options.child_epochs,
            options.seeds,
            options.reduction,
        )
    print_ways(results)
    if options.results is not None:
        options.results.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
