"""How good is the best architecture that each strategy has found after a number of evaluations?

    python -m experiments.benchmarks.search_quality --tables DIR

DIR holds `anb_quadratic_surrogate.npz`, a fit of accuracy and latency on the MnasNet space of Accel-NASBench
(7 blocks, 28 decisions). The reward is accuracy x latency^-0.07 with the latency on a ZCU102. The figure is
the gap, (optimum - best so far) / (optimum - median of random architectures): 0 is the optimum, 1 a random
architecture. Only evaluations of new architectures count. Proposals are made one at a time. The mean over
seeds is printed with its standard error.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import controllers

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

REWARD_EXPONENT = -0.07
CHECKPOINTS = (50, 100, 200, 500, 1000)
CONTENDERS: dict[str, tuple[str, dict[str, str]]] = {
    "random": ("random", {}),
    "ppo": ("ppo", {}),
    "ppo, paper preset": ("ppo", {"preset": "paper"}),
}


@dataclass(frozen=True)
class Quadratic:
    """bias + h . linear + h . matrix . h, where h marks every choice but the first of each decision."""

    bias: float
    linear: Floats
    matrix: Floats

    def __call__(self, marks: Floats) -> Floats:
        """Evaluate marks of shape (batch, choices - decisions); returns shape (batch,)."""
        values: Floats = self.bias + marks @ self.linear + ((marks @ self.matrix) * marks).sum(axis=1)
        return values


@dataclass(frozen=True)
class Surrogate:
    """A search space with a reward for each architecture."""

    decision_sizes: tuple[int, ...]
    accuracy: Quadratic
    log_latency: Quadratic

    def rewards(self, architectures: Indices) -> Floats:
        """Return the rewards, shape (batch,), of architectures of shape (batch, decisions)."""
        firsts = np.cumsum([0, *(size - 1 for size in self.decision_sizes[:-1])])
        marks = np.zeros((len(architectures), sum(self.decision_sizes) - len(self.decision_sizes)))
        rows, decisions = np.nonzero(architectures)
        marks[rows, firsts[decisions] + architectures[rows, decisions] - 1] = 1.0
        rewards: Floats = self.accuracy(marks) * np.exp(REWARD_EXPONENT * self.log_latency(marks))
        return rewards


def load_surrogate(path: Path) -> Surrogate:
    """Read the surrogate's arrays."""
    with np.load(path, allow_pickle=False) as arrays:

        def quadratic(name: str) -> Quadratic:
            return Quadratic(float(arrays[f"{name}_b"]), arrays[f"{name}_lin"], arrays[f"{name}_M"])

        return Surrogate(tuple(int(size) for size in arrays["K"]), quadratic("acc"), quadratic("log_latency_zcu102"))


def random_architectures(sizes: tuple[int, ...], count: int) -> Indices:
    """Return uniform architectures, the same ones at every call."""
    generator = np.random.default_rng(0)
    return np.stack([generator.integers(size, size=count) for size in sizes], axis=1)


def climb(surrogate: Surrogate, start: Indices) -> float:
    """Return the reward that steepest ascent reaches by changing one decision at a time."""
    best, current = -np.inf, start[None]
    while True:
        rewards = surrogate.rewards(current)
        winner = int(rewards.argmax())
        if rewards[winner] <= best:
            return float(best)
        best, position = rewards[winner], current[winner]
        neighbours = []
        for decision, size in enumerate(surrogate.decision_sizes):
            changed = np.repeat(position[None], size, axis=0)
            changed[:, decision] = np.arange(size)
            neighbours.append(changed)
        current = np.concatenate(neighbours)


def best_so_far(controller: controllers.Controller, surrogate: Surrogate, evaluations: int) -> Floats:
    """Return the best reward after each evaluation of a distinct architecture, shape (evaluations,)."""
    known: dict[controllers.Architecture, float] = {}
    while len(known) < evaluations:
        (proposal,) = controller.ask(1)
        if proposal not in known:
            known[proposal] = float(surrogate.rewards(np.array([proposal]))[0])
        controller.tell([proposal], [known[proposal]])
    return np.maximum.accumulate(list(known.values()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all contenders and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, metavar="DIR", help="folder of the surrogate")
    parser.add_argument("--evaluations", type=int, default=500, help="distinct architectures per run")
    parser.add_argument("--seeds", type=int, default=10, help="runs per contender, at least 2")
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args(arguments)

    surrogate = load_surrogate(options.tables / "anb_quadratic_surrogate.npz")
    samples = random_architectures(surrogate.decision_sizes, 20_000)
    optimum = max(climb(surrogate, start) for start in samples[:200])
    median = float(np.median(surrogate.rewards(samples)))
    checkpoints = [count for count in CHECKPOINTS if count <= options.evaluations]
    print(f"{'gap after':20}" + "".join(f"{count:>16}" for count in checkpoints) + f"{'CPU ms/trial':>16}")
    for label, (name, hyperparameters) in CONTENDERS.items():
        started_s = time.process_time()
        runs = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            controller = controllers.create(name, surrogate.decision_sizes, seed=seed, **hyperparameters)
            runs.append(best_so_far(controller, surrogate, options.evaluations))
        cpu_ms = 1e3 * (time.process_time() - started_s) / (options.seeds * options.evaluations)
        gaps = (optimum - np.array(runs)) / (optimum - median)
        means = gaps.mean(axis=0)
        errors = gaps.std(axis=0, ddof=1) / np.sqrt(options.seeds)
        cells = [f"{means[count - 1]:.3f} +- {errors[count - 1]:.3f}" for count in checkpoints]
        print(f"{label:20}" + "".join(f"{cell:>16}" for cell in cells) + f"{cpu_ms:>16.1f}", flush=True)


if __name__ == "__main__":
    main()
