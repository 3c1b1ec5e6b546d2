from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from controllers import Decisions
from controllers.arrays import DecisionArray, Floats
from experiments.benchmarks.search_quality import (
    Conditions,
    Gap,
    compare,
    contenders,
    main,
    read_gaps,
    search,
    write_results,
)
from experiments.benchmarks.search_tables import Table


def rewards(architectures: DecisionArray) -> Floats:
    """1 for (0,), 2 for (1,) and so on; the median is 3."""
    values: Floats = architectures[:, 0] + 1.0
    return values


def misleading(architectures: DecisionArray, generator: np.random.Generator) -> Floats:
    """Architecture (0,) seems to be the best one."""
    values: Floats = np.where(architectures[:, 0] == 0, 9.0, rewards(architectures))
    return values


def exact(architectures: DecisionArray, generator: np.random.Generator) -> Floats:
    return rewards(architectures)


TABLE = Table((5,), rewards, exact, optimum=5.0, median=3.0)
NOISY_TABLE = Table((5,), rewards, misleading, optimum=5.0, median=3.0)


class Scripted:
    """Proposes what it is given and keeps what it is told."""

    def __init__(self, choices: Sequence[int]) -> None:
        self.left = list(choices)
        self.told: list[tuple[Decisions, float]] = []

    def ask(self, count: int) -> list[Decisions]:
        return [(self.left.pop(0),) for _ in range(min(count, len(self.left)))]

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        self.told += zip(proposals, rewards, strict=True)


def best_after_each(choices: Sequence[int], evaluations: int, table: Table = TABLE, workers: int = 1) -> list[float]:
    conditions = Conditions(evaluations, workers)
    result: list[float] = search(Scripted(choices), table, conditions, np.random.default_rng(0)).tolist()
    return result


def test_the_best_reward_so_far_is_kept() -> None:
    assert best_after_each([1, 0, 3, 2], 4) == [2.0, 2.0, 4.0, 4.0]


def test_repeats_are_told_again_but_do_not_count() -> None:
    contender = Scripted([1, 1, 1, 3])
    assert search(contender, TABLE, Conditions(2), np.random.default_rng(0)).tolist() == [2.0, 4.0]
    assert contender.told == [((1,), 2.0), ((1,), 2.0), ((1,), 2.0), ((3,), 4.0)]


def test_the_quality_is_the_true_reward_of_what_seems_best() -> None:
    assert best_after_each([3, 0, 4], 3, NOISY_TABLE) == [4.0, 1.0, 1.0]


def test_a_contender_that_has_nothing_left_keeps_its_last_value() -> None:
    assert best_after_each([3], 3) == [4.0, 4.0, 4.0]


def test_a_contender_that_only_repeats_itself_is_stopped() -> None:
    assert best_after_each([3] * 1000, 3) == [4.0, 4.0, 4.0]


def test_workers_hold_as_many_proposals_at_a_time() -> None:
    contender = Scripted([0, 1, 2, 3, 4])
    search(contender, TABLE, Conditions(1, workers=3), np.random.default_rng(0))
    assert len(contender.left) == 2
    assert len(contender.told) == 1


def test_failures_count_as_evaluations_and_find_nothing() -> None:
    contender = Scripted([4, 3])
    conditions = Conditions(2, failure_share=1.0)
    assert search(contender, TABLE, conditions, np.random.default_rng(0)).tolist() == [TABLE.median] * 2
    assert contender.told == [((4,), 0.0), ((3,), 0.0)]


def test_the_gap_is_zero_at_the_optimum_and_one_at_the_median() -> None:
    def factory(sizes: tuple[int, ...], seed: int) -> Scripted:
        return Scripted([2] + [0] * 49 if seed == 0 else [2, 4])

    # No architecture after the 5 that there are; the checkpoints below 50 are the plot's.
    gaps = {gap.evaluations: gap for gap in compare(("t", "s"), factory, TABLE, range(2), Conditions(5))}
    assert gaps[5].mean == pytest.approx(0.5)  # 1 for the first seed and 0 for the second.
    assert gaps[5].standard_error == pytest.approx(0.5)


def test_the_results_file_has_a_row_per_gap(tmp_path: Path) -> None:
    gaps = compare(("a table", "random"), contenders()["random"], TABLE, range(3), Conditions(5))
    write_results(tmp_path / "gaps.csv", gaps)
    with open(tmp_path / "gaps.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(gaps)
    assert rows[0]["table"] == "a table"
    assert (rows[0]["evaluations"], rows[0]["seeds"]) == ("5", "3")
    assert float(rows[-1]["mean"]) == 0.0  # All five architectures have been evaluated.


def test_a_results_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    gap = Gap("a, table", "random", 2, 0.05, 100, 0.25, 0.125, 7, 20, 1.5)
    write_results(tmp_path / "gaps.csv", [gap])
    assert read_gaps(tmp_path / "gaps.csv") == [gap]


@pytest.mark.parametrize("name", [name for name in contenders() if name != "Optuna TPE"])
def test_every_contender_runs(name: str) -> None:
    gaps = compare(("t", name), contenders()[name], TABLE, range(2), Conditions(5, workers=2))
    assert 0.0 <= gaps[-1].mean <= 1.0


def test_results_are_put_together_without_running_anything(tmp_path: Path) -> None:
    gaps = [Gap("a table", name, 1, 0.0, 100, 0.25, 0.125, 7, 20, 1.5) for name in ("random", "ppo")]
    for gap in gaps:
        write_results(tmp_path / f"{gap.strategy}.csv", [gap])
    parts = [argument for gap in gaps for argument in ("--reuse", str(tmp_path / f"{gap.strategy}.csv"))]
    main(["--tables", str(tmp_path), "--seeds", "0", "--results", str(tmp_path / "all.csv"), *parts])
    assert read_gaps(tmp_path / "all.csv") == gaps
