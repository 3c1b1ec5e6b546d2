"""How good is the best architecture that each strategy has found after a number of evaluations?

    python -m experiments.benchmarks.search_quality --tables DIR --seeds 20 --results FILE.csv --plot FILE.svg

DIR holds the data of `search_tables.py`. The figure is the gap, (optimum - reward) / (optimum - median of
random architectures): 0 is the optimum, 1 a random architecture. The reward is the true one of the
architecture with the best evaluation so far. Only evaluations of new architectures count. The mean over seeds
is printed with its standard error.

With --workers W, W proposals are always pending; each takes a random time of 0.5 to 1.5. With
--failures SHARE, that share of the evaluations fails and is told as 0, as a search does it. Optuna's TPE takes
part if Optuna is installed; the plot needs Matplotlib. Neither is a dependency of the project. Parts of a
comparison can be run apart: --reuse FILE.csv puts the rows of an earlier results file before this run's, and with
--seeds 0 nothing else is run.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import importlib
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np

import controllers
from controllers import Decisions
from controllers.arrays import Floats
from experiments.benchmarks.search_tables import Table, load_tables

CHECKPOINTS = (50, 100, 200, 500, 1000)
PLOT_POINTS = (5, 10, 15, 20, 30, 40, 60, 75, 125, 150, 175, 250, 300, 350, 400, 600, 700, 800, 900)
MAX_PROPOSALS_PER_EVALUATION = 20
"""A strategy that repeats itself more than this has come to rest."""
FAILURE_REWARD = 0.0
"""What a search tells of a child that failed."""
PANELS_PER_ROW = 3


@dataclass(frozen=True)
class Conditions:
    """The circumstances under which strategies are compared."""

    evaluations: int
    """Distinct architectures of a run."""
    workers: int = 1
    """Proposals that are out at a time."""
    failure_share: float = 0.0
    """Of the evaluations; they count as evaluations but find nothing."""


class Contender(Protocol):
    """The part of a controller that the benchmark uses."""

    def ask(self, count: int) -> list[Decisions]:
        """Return up to `count` proposals."""
        ...

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        """Learn from rewards."""
        ...


Factory = Callable[[tuple[int, ...], int], Contender]
"""Makes a contender from decision sizes and a seed."""


@dataclass(frozen=True)
class Gap:
    """The gap of one strategy on one table after a number of evaluations: a row of the results file."""

    table: str
    strategy: str
    workers: int
    failure_share: float
    evaluations: int
    mean: float
    standard_error: float
    first_seed: int
    seeds: int
    cpu_ms_per_evaluation: float
    """Of the contender and the table together."""


def contenders() -> dict[str, Factory]:
    """Return all strategies with their defaults, PPO's other preset, and Optuna's TPE if it is installed."""

    def ours(name: str, **hyperparameters: str) -> Factory:
        return lambda sizes, seed: controllers.create_controller(name, sizes, seed=seed, **hyperparameters)

    result = {name: ours(name) for name in controllers.STRATEGIES}
    result["ppo, paper preset"] = ours("ppo", preset="paper")
    if importlib.util.find_spec("optuna"):
        from experiments.benchmarks.optuna_tpe import OptunaTpe

        result["Optuna TPE"] = OptunaTpe
    return result


def search(contender: Contender, table: Table, conditions: Conditions, generator: np.random.Generator) -> Floats:
    """Return the true reward of the best architecture after each evaluation, shape (evaluations,).

    The best is the one with the highest observed reward; before there is any, the median of random ones stands
    in for it. If the contender stops early, its last value is repeated.
    """
    observed: dict[Decisions, float] = {}
    running: list[tuple[float, int, Decisions]] = []
    true_best: list[float] = []
    best, true, clock, proposals = -np.inf, table.median, 0.0, 0
    evaluations = conditions.evaluations
    while len(observed) < evaluations and proposals < MAX_PROPOSALS_PER_EVALUATION * evaluations:
        while len(running) < conditions.workers and (asked := contender.ask(1)):
            heapq.heappush(running, (clock + generator.uniform(0.5, 1.5), proposals, asked[0]))
            proposals += 1
        if not running:  # The space is used up.
            break
        clock, _, decisions = heapq.heappop(running)
        if decisions not in observed:
            observed[decisions] = float(table.observe(np.array([decisions]), generator)[0])
            if conditions.failure_share and generator.random() < conditions.failure_share:
                observed[decisions] = FAILURE_REWARD
            elif observed[decisions] > best:
                best, true = observed[decisions], float(table.rewards(np.array([decisions]))[0])
            true_best.append(true)
        contender.tell([decisions], [observed[decisions]])
    return np.array(true_best + true_best[-1:] * (evaluations - len(true_best)))


def compare(names: tuple[str, str], factory: Factory, table: Table, seeds: range, conditions: Conditions) -> list[Gap]:
    """Run one contender on one table with every seed; `names` are those of the table and the contender."""
    started_s = time.process_time()
    runs = []
    for seed in seeds:
        contender = factory(table.decision_sizes, seed)
        runs.append(search(contender, table, conditions, np.random.default_rng([1, seed])))
    cpu_ms = 1e3 * (time.process_time() - started_s) / (len(seeds) * conditions.evaluations)
    curves = (table.optimum - np.array(runs)) / (table.optimum - table.median)
    means, errors = curves.mean(axis=0), curves.std(axis=0, ddof=1) / np.sqrt(len(seeds))
    return [
        Gap(
            *names,
            conditions.workers,
            conditions.failure_share,
            count,
            float(means[count - 1]),
            float(errors[count - 1]),
            seeds[0],
            len(seeds),
            cpu_ms,
        )
        for count in sorted({*CHECKPOINTS, *PLOT_POINTS})
        if count <= conditions.evaluations
    ]


def write_results(path: Path, gaps: Sequence[Gap]) -> None:
    """Write one row per gap, numbers with 4 digits."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Gap))
        for gap in gaps:
            values = asdict(gap).values()
            writer.writerow(f"{value:.4g}" if isinstance(value, float) else value for value in values)


def read_gaps(path: Path) -> list[Gap]:
    """Read what `write_results` wrote."""
    types = {"table": str, "strategy": str, "workers": int, "evaluations": int, "first_seed": int, "seeds": int}
    with open(path, newline="") as file:
        return [
            Gap(**{name: types.get(name, float)(value) for name, value in row.items()}) for row in csv.DictReader(file)
        ]


def plot(path: Path, gaps: Sequence[Gap]) -> None:
    """Draw one panel per table: the gap against evaluations, with a band of one standard error."""
    # Imported by name, so that type checkers do not need a package that only this function uses.
    canvas = importlib.import_module("matplotlib.figure")
    tables = list(dict.fromkeys(gap.table for gap in gaps))
    rows, columns = -(-len(tables) // PANELS_PER_ROW), min(len(tables), PANELS_PER_ROW)
    drawing = canvas.Figure(figsize=(4.5 * columns, 4 * rows), layout="tight")
    axes = drawing.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(tables) :]:
        axis.set_axis_off()
    for axis, table in zip(axes, tables, strict=False):
        for strategy in dict.fromkeys(gap.strategy for gap in gaps):
            curve = [gap for gap in gaps if (gap.table, gap.strategy) == (table, strategy)]
            evaluations = [gap.evaluations for gap in curve]
            means = np.array([gap.mean for gap in curve])
            errors = np.array([gap.standard_error for gap in curve])
            axis.plot(evaluations, means, label=strategy)
            axis.fill_between(evaluations, means - errors, means + errors, alpha=0.2)
        axis.set(title=table, xlabel="distinct evaluations", ylabel="gap", xscale="log", ylim=(0, 0.7))
    axes[0].legend(fontsize="small")
    drawing.savefig(path)


def _selected(all_of_them: Mapping[str, object], wanted: list[str] | None) -> list[str]:
    unknown = [name for name in wanted or [] if name not in all_of_them]
    if unknown:
        raise SystemExit(f"there is no {unknown[0]!r}; choose among: {'; '.join(all_of_them)}")
    return wanted or list(all_of_them)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the contenders and print one line for each on each table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, metavar="DIR", help="folder of the data")
    parser.add_argument("--table", action="append", help="run on this table only (may be repeated)")
    parser.add_argument("--strategy", action="append", help="run this strategy only (may be repeated)")
    parser.add_argument("--evaluations", type=int, default=500, help="distinct architectures per run")
    parser.add_argument("--workers", type=int, default=1, help="pending proposals at a time")
    parser.add_argument("--failures", type=float, default=0.0, metavar="SHARE", help="of the evaluations fail")
    parser.add_argument("--seeds", type=int, default=10, help="runs per contender, at least 2, or 0 to run nothing")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--results", type=Path, metavar="FILE.csv")
    parser.add_argument("--reuse", type=Path, action="append", default=[], metavar="FILE.csv")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    options = parser.parse_args(arguments)

    if options.seeds == 1 or options.seeds < 0:
        parser.error("--seeds must be 0 (no runs) or at least 2: a standard error needs two")
    tables, factories = load_tables(options.tables) if options.seeds else {}, contenders()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    conditions = Conditions(options.evaluations, options.workers, options.failures)
    gaps = [gap for path in options.reuse for gap in read_gaps(path)]
    for table in _selected(tables, options.table) if options.seeds else []:
        checkpoints = [count for count in CHECKPOINTS if count <= options.evaluations]
        print(f"\n{table:36}" + "".join(f"{count:>16}" for count in checkpoints) + f"{'CPU ms':>8}")
        for strategy in _selected(factories, options.strategy):
            names = (table, strategy)
            found = compare(names, factories[strategy], tables[table], seeds, conditions)
            gaps += found
            shown = [gap for gap in found if gap.evaluations in checkpoints]
            cells = [f"{gap.mean:.3f} +- {gap.standard_error:.3f}" for gap in shown]
            cpu_ms = found[-1].cpu_ms_per_evaluation
            print(f"{strategy:36}" + "".join(f"{cell:>16}" for cell in cells) + f"{cpu_ms:>8.1f}", flush=True)
    if options.results:
        write_results(options.results, gaps)
    if options.plot:
        plot(options.plot, gaps)


if __name__ == "__main__":
    main()
