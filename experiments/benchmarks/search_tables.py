"""Search spaces with a known reward for every architecture, on which strategies are compared in seconds.

Two public data sets are read from a folder; nothing of them is in this repository.

- `anb_quadratic_surrogate.npz`: quadratic fits of ImageNet accuracy (%), log latency (ms) and log throughput
  (images/s) to the 5,138 trained networks of Accel-NASBench (Ahmad et al., 2024), a MnasNet space of 7 blocks,
  28 decisions and 10^11 networks. Held-out R2 of the accuracy is 0.982.
- `nas_bench_macro_cifar10.csv`: CIFAR-10 accuracies (%) of three trainings of each of the 6,561 networks of
  NAS-Bench-Macro (Su et al., 2021), 8 decisions of 3 choices.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from controllers.arrays import DecisionArray, Floats

REWARD_EXPONENT = -0.07
SURROGATE_NOISE = 0.42
"""Standard deviation in % accuracy: that of Accel-NASBench's test networks around the fit, of which the noise
of a single training is a part."""
MACRO_CHOICES = 3


@dataclass(frozen=True)
class Table:
    """A search problem."""

    decision_sizes: tuple[int, ...]
    rewards: Callable[[DecisionArray], Floats]
    """True rewards, shape (batch,), of architectures of shape (batch, decisions)."""
    observe: Callable[[DecisionArray, np.random.Generator], Floats]
    """What an evaluation of each returns; the same as `rewards` where evaluations have no noise."""
    optimum: float
    """The highest true reward."""
    median: float
    """The median true reward of random architectures."""


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


def load_tables(folder: Path) -> dict[str, Table]:
    """Read all tables of a folder."""
    with np.load(folder / "anb_quadratic_surrogate.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    with open(folder / "nas_bench_macro_cifar10.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    trainings = np.array([[float(row[f"acc{training}"]) for training in range(3)] for row in rows])
    architectures = np.array([[int(digit) for digit in row["arch"]] for row in rows])
    return {
        "MnasNet space, ZCU102": surrogate_table(arrays, "log_latency_zcu102"),
        "MnasNet space, ZCU102, noisy": surrogate_table(arrays, "log_latency_zcu102", SURROGATE_NOISE),
        "MnasNet space, VCK190": surrogate_table(arrays, "log_latency_vck190"),
        "MnasNet space, A100": surrogate_table(arrays, "log_throughput_a100"),
        "NAS-Bench-Macro": macro_table(architectures, trainings, noisy=False),
        "NAS-Bench-Macro, one training": macro_table(architectures, trainings, noisy=True),
    }


def surrogate_table(arrays: Mapping[str, Floats], device: str, noise: float = 0.0) -> Table:
    """Return the surrogate with the reward accuracy x latency^-0.07, or x throughput^0.07.

    Args:
        arrays: Arrays of the surrogate's archive.
        device: `log_latency_` or `log_throughput_` and the device's name.
        noise: Standard deviation in % accuracy of an evaluation.
    """
    sizes = tuple(int(size) for size in arrays["K"])
    accuracy, log_cost = (
        Quadratic(float(arrays[f"{name}_b"]), arrays[f"{name}_lin"], arrays[f"{name}_M"]) for name in ("acc", device)
    )
    exponent = REWARD_EXPONENT if device.startswith("log_latency_") else -REWARD_EXPONENT

    def rewards(architectures: DecisionArray) -> Floats:
        marks = _marks(sizes, architectures)
        values: Floats = accuracy(marks) * np.exp(exponent * log_cost(marks))
        return values

    def observe(architectures: DecisionArray, generator: np.random.Generator) -> Floats:
        if not noise:
            return rewards(architectures)
        marks = _marks(sizes, architectures)
        noisy = accuracy(marks) + noise * generator.standard_normal(len(architectures))
        values: Floats = noisy * np.exp(exponent * log_cost(marks))
        return values

    samples = random_decisions(sizes, 20_000)
    optimum = max(climb(sizes, rewards, start) for start in samples[:200])
    return Table(sizes, rewards, observe, optimum, float(np.median(rewards(samples))))


def macro_table(architectures: DecisionArray, trainings: Floats, *, noisy: bool) -> Table:
    """Return a table of all architectures with the mean accuracy of their trainings as reward.

    Args:
        architectures: Every architecture once, shape (architectures, decisions).
        trainings: Accuracies, shape (architectures, trainings).
        noisy: An evaluation returns one of the trainings.
    """
    decisions = architectures.shape[1]
    powers = MACRO_CHOICES ** np.arange(decisions)
    by_number = np.empty_like(trainings)
    by_number[architectures @ powers] = trainings
    means = by_number.mean(axis=1)

    def rewards(queried: DecisionArray) -> Floats:
        values: Floats = means[queried @ powers]
        return values

    def observe(queried: DecisionArray, generator: np.random.Generator) -> Floats:
        if not noisy:
            return rewards(queried)
        values: Floats = by_number[queried @ powers, generator.integers(trainings.shape[1], size=len(queried))]
        return values

    return Table((MACRO_CHOICES,) * decisions, rewards, observe, float(means.max()), float(np.median(means)))


def random_decisions(sizes: tuple[int, ...], count: int) -> DecisionArray:
    """Return uniform architectures, the same ones at every call."""
    generator = np.random.default_rng(0)
    return np.stack([generator.integers(size, size=count) for size in sizes], axis=1)


def climb(sizes: tuple[int, ...], rewards: Callable[[DecisionArray], Floats], start: DecisionArray) -> float:
    """Return the reward that steepest ascent reaches by changing one decision at a time."""
    best, current = -np.inf, start[None]
    while True:
        values = rewards(current)
        winner = int(values.argmax())
        if values[winner] <= best:
            return float(best)
        best, position = values[winner], current[winner]
        neighbours = []
        for decision, size in enumerate(sizes):
            changed = np.repeat(position[None], size, axis=0)
            changed[:, decision] = np.arange(size)
            neighbours.append(changed)
        current = np.concatenate(neighbours)


def _marks(sizes: tuple[int, ...], architectures: DecisionArray) -> Floats:
    firsts = np.cumsum([0, *(size - 1 for size in sizes[:-1])])
    marks = np.zeros((len(architectures), sum(sizes) - len(sizes)))
    rows, decisions = np.nonzero(architectures)
    marks[rows, firsts[decisions] + architectures[rows, decisions] - 1] = 1.0
    return marks
