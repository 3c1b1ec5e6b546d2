from dataclasses import replace
from pathlib import Path

import pytest

from mnas.search.run import Run
from mnas.search.store import Trial
from mnas.search.target import target_note


@pytest.fixture
def run(searched_run: Path) -> Run:
    return Run.open(searched_run)


def timed(run: Run, *latencies_ms: float) -> list[Trial]:
    return [
        replace(run.trials[0], latency={"latency_ms": latency_ms}, latency_ms=latency_ms) for latency_ms in latencies_ms
    ]


def test_a_target_between_the_networks_needs_no_note(run: Run) -> None:
    assert target_note(timed(run, 0.5, 1.0, 1.5), run.experiment) is None


def test_a_target_that_every_network_meets_is_said(run: Run) -> None:
    note = target_note(timed(run, 0.2, 0.5, 0.9), run.experiment)
    assert note is not None
    assert "Every network meets latency.target_ms = 1: 3 networks took 0.2000 to 0.9000 ms" in note


def test_a_target_that_no_network_meets_is_said(run: Run) -> None:
    note = target_note(timed(run, 1.2, 1.5, 1.9), run.experiment)
    assert note is not None
    assert "No network meets" in note


def test_equal_exponents_make_the_target_a_matter_of_scale(run: Run) -> None:
    note = target_note(timed(run, 0.2, 0.5, 0.9), run.experiment)
    assert note is not None
    assert "does not change the order" in note


def test_a_hard_reward_is_told_a_target_that_matters(run: Run) -> None:
    note = target_note(timed(run, 0.2, 0.5, 0.9), run.experiment.changed({"reward.form": "hard"}))
    assert note is not None
    assert "A target near 0.5 ms would tell them apart" in note


def test_two_networks_are_too_few_for_a_note(run: Run) -> None:
    assert target_note(timed(run, 0.2, 0.9), run.experiment) is None
