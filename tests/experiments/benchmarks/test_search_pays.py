from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks import search_pays
from experiments.benchmarks.search_pays import (
    FORM,
    REFERENCES,
    STRATEGIES,
    UNSEARCHED,
    Job,
    OutOfTimeError,
    Plan,
    Study,
    main,
    opened,
    results_of,
    run_jobs,
    summaries,
)
from mnas.files import write_atomically
from mnas.retrain.recipe import load_recipe
from search_space import Architecture, ArchitectureFile, cost, find_architecture, reference, write_architecture
from tests.mnas.report.stand_in import stand_in_run

PLAN = Plan(
    seeds=2,
    trials=8,
    finalists=2,
    extra_trainings=4,
    train_images=640,
    child_epochs=1,
    rounds=1,
    trainings=2,
    epochs=1,
)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_searches_of_a_study_differ_in_controller_and_seed_only(tmp_path: Path, strategy: str) -> None:
    study = Study(tmp_path, PLAN)
    experiment = study.experiment(strategy, 1, tmp_path)
    same = {"controller": {"name": "random"}, "seed": 0}
    assert experiment.changed(same) == study.experiment("random", 0, tmp_path)
    assert (experiment.seed, experiment.search.trials) == (1, PLAN.trials)


def test_searches_go_seed_by_seed(tmp_path: Path) -> None:
    searches = Study(tmp_path, PLAN).searches
    assert [seed for _, seed in searches] == [0] * len(STRATEGIES) + [1] * len(STRATEGIES)


def test_full_trainings_with_one_seed_differ_in_their_network_only(tmp_path: Path) -> None:
    study = Study(tmp_path, PLAN)
    (tmp_path / "references").mkdir()
    for name in REFERENCES:
        write_architecture(tmp_path / f"references/{name}.yaml", ArchitectureFile(reference(name).architecture))
    jobs = study.training_jobs(1, tmp_path)
    networks = {find_architecture(Path(job.arguments[1])) for job in jobs}
    assert networks == {reference(name).architecture for name in REFERENCES}
    (recipe,) = {job.arguments[job.arguments.index("--recipe") + 1] for job in jobs}
    assert load_recipe(recipe) == study.recipe(1, tmp_path)


def test_a_command_leaves_its_output_when_it_has_succeeded_and_is_not_run_again(tmp_path: Path) -> None:
    job = Job(["space", "list"], tmp_path / "spaces.json")
    run_jobs([job], 2, math.inf)
    assert "small32" in job.output.read_text()
    run_jobs([job], 2, deadline_s=0)  # nothing to do, so no time is needed


def test_a_command_that_fails_is_named_and_leaves_no_output(tmp_path: Path) -> None:
    job = Job(["space", "nonsense"], tmp_path / "nothing.json")
    with pytest.raises(SystemExit, match=r"mnas space nonsense: exit code 2; see .*nothing\.log"):
        run_jobs([job], 1, math.inf)
    assert not job.output.exists()


def test_no_command_starts_after_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(OutOfTimeError):
        run_jobs([Job(["space", "list"], tmp_path / "spaces.json")], 1, time.monotonic())
    assert list(tmp_path.iterdir()) == []


def test_a_study_keeps_its_size(tmp_path: Path) -> None:
    with opened(tmp_path, PLAN):
        pass
    with (
        pytest.raises(SystemExit, match="a study of another size"),
        opened(tmp_path, dataclasses.replace(PLAN, seeds=3)),
    ):
        pass


def test_the_error_of_a_strategy_is_that_between_its_searches_and_that_of_a_reference_between_trainings() -> None:
    rows: list[dict[str, Any]] = [
        {"by": "ppo", "top1": [0.5, 0.7], "latency_ms": 1.0, "reward": 0.6},
        {"by": "ppo", "top1": [0.7, 0.9], "latency_ms": 3.0, "reward": 0.8},
        {"by": "ppo", "top1": []},
        {"by": "mobilenet-v2", "top1": [0.5, 0.7], "latency_ms": 2.0, "reward": 0.6},
    ]
    ppo, other = summaries(rows)
    assert (ppo["networks"], ppo["trainings"], ppo["latency_ms"]) == (2, 4, 2.0)
    assert ppo["top1"] == pytest.approx(0.7)
    assert ppo["top1_error"] == pytest.approx(0.1)
    assert other["top1_error"] == pytest.approx(0.1)
    assert other["reward_error"] is None


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study whose searches are stand-ins, whose latencies are counted, and whose full trainings are made up."""
    study = Study(tmp_path_factory.mktemp("study"), PLAN)
    for strategy, seed in study.searches:
        run = stand_in_run(study.run_folder(strategy, seed), 12, space_name="small32", seed=seed, finalists=2)
        run.with_suffix(".json").touch()

    def timed(architectures: Sequence[Architecture]) -> list[float]:
        return [cost(FORM.lower(architecture)).multiply_adds / 4e7 for architecture in architectures]

    def run_jobs(jobs: Sequence[Job], at_a_time: int, deadline_s: float) -> None:
        for number, job in enumerate(job for job in jobs if not job.output.exists()):
            job.output.write_text(json.dumps({"top1": 0.5 + number / 100}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_pays, "timed", timed)
        patch.setattr(search_pays, "run_jobs", run_jobs)
        study.go_on(study.folder, jobs=2, deadline_s=math.inf)
    return study


def test_every_network_of_a_study_is_timed_and_trained(complete: Study) -> None:
    rows = complete.rows()
    assert {row["by"] for row in rows} == {*STRATEGIES, UNSEARCHED, *REFERENCES}
    assert {(len(row["latencies_ms"]), len(row["top1"])) for row in rows} == {(PLAN.rounds, PLAN.trainings)}
    by_key: dict[str, list[Any]] = {}
    assert all(by_key.setdefault(row["network"], row["top1"]) == row["top1"] for row in rows)


def test_references_are_as_fast_as_the_winners(complete: Study) -> None:
    rows = complete.rows()
    latencies_ms = sorted(row["latency_ms"] for row in rows if row["by"] in STRATEGIES)
    for row in rows:
        if row["by"] in REFERENCES:
            assert latencies_ms[0] < row["latency_ms"] < latencies_ms[-1]


def test_the_results_hold_a_summary_of_each_origin(complete: Study) -> None:
    results = results_of(complete)
    assert (results["searches_complete"], results["searches"]) == (8, 8)
    assert [one["by"] for one in results["summaries"]] == list(dict.fromkeys(row["by"] for row in results["networks"]))
    assert -1 <= results["kendall_tau"]["tau"] <= 1


def test_a_complete_study_measures_nothing_again(complete: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_pays, "timed", lambda _: pytest.fail("timed again"))
    before = complete.rows()
    complete.go_on(complete.folder, jobs=2, deadline_s=math.inf)
    assert complete.rows() == before


def test_rows_of_a_study_without_a_search_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_atomically(tmp_path / "study.json", json.dumps(dataclasses.asdict(PLAN)).encode())
    assert main([str(tmp_path), "--rows"]) == 0
    assert "0 of 8 searches are complete" in capsys.readouterr().out
