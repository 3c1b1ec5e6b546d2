"""The short form of `chaos`: a search on a real adbd whose processes are killed; and its arithmetic."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from experiments.benchmarks.chaos import (
    Chaos,
    Planned,
    Seen,
    compare,
    down_times,
    environment_in,
    experiment,
    plan,
    scene_in,
)
from experiments.benchmarks.chaos_faults import ON_ITS_OWN
from latency.loopback.adbd import Adbd
from mnas.search.run import Run

# So far apart that children which were trained before a fault do not fill the time up to the next one, and some trials
# are left when the last fault hits, however late it is noticed that it is due.
TRIALS, MOMENTS = 18, (1, 3, 11)


def test_a_search_whose_worker_ray_and_driver_are_killed_loses_and_repeats_nothing(
    adbd: Adbd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_in(tmp_path).items():
        monkeypatch.setenv(name, value)
    faults = ("worker killed", "GCS killed", "all processes killed")
    planned = [Planned(fault, moment, 0.0) for fault, moment in zip(faults, MOMENTS, strict=True)]
    with scene_in(tmp_path, tmp_path / "run", experiment(TRIALS), adbd, cluster=False) as scene:
        phase = Chaos(scene, tmp_path / "run", ON_ITS_OWN, random.Random(0)).carry_out(planned, TRIALS)
        said = scene.command.said(since=0)
    assert phase.problems == []
    assert phase.trials == {"complete": TRIALS}
    phones = {trial.latency["phone"]["serial"] for trial in Run.open(tmp_path / "run").trials if trial.latency}
    assert phones == {adbd.address.target}
    assert [(each.fault, each.exit_code) for each in phase.seen] == list(zip(faults, (None, None, -9), strict=True))
    assert any("Ray's gcs_server ended unexpectedly; starting Ray again" in line for line in said)


def test_each_fault_comes_as_often_as_it_was_asked_for_at_the_same_moments_again() -> None:
    planned = plan(list(ON_ITS_OWN), 2, 200, random.Random(3))
    assert sorted(each.fault for each in planned) == sorted([*ON_ITS_OWN, *ON_ITS_OWN])
    assert [each.after_trials for each in planned] == sorted({each.after_trials for each in planned})
    assert planned == plan(list(ON_ITS_OWN), 2, 200, random.Random(3))


def test_a_down_time_is_the_longest_gap_up_to_the_next_fault_beyond_the_usual_one() -> None:
    seen = [Seen("one", 1, 10.0, ""), Seen("other", 3, 30.0, "")]
    assert down_times(seen, [9.0, 11.0, 26.0, 31.0, 33.5], usual_s=2.0) == [13.0, 0.5]


@pytest.mark.parametrize(("seconds", "problems"), [(59.0, 0), (61.0, 1)])
def test_time_beyond_the_bound_is_a_problem(seconds: float, problems: int) -> None:
    phase = {"experiment": {}, "problems": [], "seen": [], "finished_s": [1.0], "seconds": 40.0}
    assert len(compare(phase, phase | {"seconds": seconds})["problems"]) == problems
