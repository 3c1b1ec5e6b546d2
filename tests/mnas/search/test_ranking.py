import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnas.errors import ConfigurationError, Failure, FailureKind
from mnas.files import RunDirectoryError
from mnas.search.ranking import Noise, below, digits, noise_of, ranked, warnings, with_target
from mnas.search.run import Run
from mnas.search.store import Trial

NOISE = Noise(reward_images=400)
SAME_RUN = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
RESULTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 100)), min_size=1, max_size=20)


@pytest.fixture
def run(searched_run: Path) -> Run:
    return Run.open(searched_run)


@pytest.fixture(scope="module")
def run_of_two(searched_run: Path) -> Run:
    return Run.open(searched_run)


def trials_of(run: Run, *results: tuple[float, float]) -> list[Trial]:
    """Return complete trials of these accuracies and latencies (ms), whose reward is the accuracy."""
    first = run.trial(1)
    return [
        replace(first, id=number, fingerprint=f"{number}", accuracy=accuracy, latency_ms=latency_ms, reward=accuracy)
        for number, (accuracy, latency_ms) in enumerate(results, start=1)
    ]


@given(st.floats(1.1e-4, 0.99))
def test_the_last_digit_is_the_first_of_the_error(error: float) -> None:
    places = digits(error)
    assert 10.0**-places <= error * (1 + 1e-9)
    assert error < 10.0 ** (1 - places) * (1 + 1e-9)


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_no_accuracy_is_exact(accuracy: float, images: int) -> None:
    error = Noise(images).error(accuracy)
    assert error is not None
    assert 0 < error <= 1


def test_the_error_is_binomial_without_repeated_trainings() -> None:
    assert NOISE.error(0.5) == pytest.approx(math.sqrt(0.25 / 400))
    assert NOISE.is_lower_bound


def test_repeated_trainings_give_the_error(run: Run) -> None:
    one, two = (replace(trial, fingerprint="same") for trial in trials_of(run, (0.5, 1), (0.6, 1)))
    noise = noise_of([one, two], 400)
    assert noise.error(0.5) == pytest.approx(math.sqrt(0.005))
    assert not noise.is_lower_bound


@given(st.floats(0, 1), st.integers(1, 10**6), st.none() | st.floats(1e-9, 1))
def test_repeated_trainings_never_make_an_accuracy_surer(accuracy: float, images: int, repeated: float | None) -> None:
    error, sampling = Noise(images, repeated).error(accuracy), Noise(images).error(accuracy)
    assert error is not None
    assert sampling is not None
    assert error == max(sampling, repeated or 0.0)


@given(st.integers(2, 12), st.integers(1, 2000), st.integers(2, 1000))
def test_chance_is_always_said(run_of_two: Run, count: int, images: int, classes: int) -> None:
    at_chance = trials_of(run_of_two, *[(1 / classes, 1.0)] * count)
    said = "\n".join(warnings(at_chance, Noise(images), classes))
    assert "Every accuracy is at chance" in said
    assert ("1 other trial has" if count == 2 else f"{count - 1} other trials have") in said


def test_a_repeat_that_was_not_trained_tells_nothing_of_the_noise(run: Run) -> None:
    one, two = (replace(trial, fingerprint="same") for trial in trials_of(run, (0.5, 1), (0.5, 1)))
    assert noise_of([one, replace(two, training=None, repeat_of=1)], 400).is_lower_bound


@SAME_RUN
@given(RESULTS)
def test_the_own_target_changes_no_order(run: Run, results: list[tuple[float, float]]) -> None:
    experiment = run.experiment
    once = with_target(trials_of(run, *results), experiment, experiment.latency.target_ms)
    assert with_target(once, experiment, experiment.latency.target_ms) == once


@SAME_RUN
@given(RESULTS, st.floats(0.01, 100))
def test_what_is_ranked_is_in_order_and_complete(run: Run, results: list[tuple[float, float]], limit: float) -> None:
    trials = trials_of(run, *results)
    order = ranked(trials)
    assert [(-(trial.reward or 0), trial.id) for trial in order] == sorted(
        (-(trial.reward or 0), trial.id) for trial in trials
    )
    assert {trial.id for trial in below(trials, limit)} == {
        trial.id for trial in trials if (trial.latency_ms or 0) <= limit
    }


def test_a_hard_target_puts_a_fast_network_first(run: Run) -> None:
    hard = run.experiment.changed({"reward.form": "hard"})
    assert [trial.id for trial in ranked(with_target(trials_of(run, (0.9, 4), (0.8, 1)), hard, 1.0))] == [2, 1]


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_nonsense_latencies_are_refused(run: Run, value: float) -> None:
    with pytest.raises(ConfigurationError, match="finite number above 0"):
        run.best(target_ms=value)
    with pytest.raises(ConfigurationError, match="finite number above 0"):
        run.best(below_ms=value)


def test_a_limit_that_no_network_meets_names_the_fastest(run: Run) -> None:
    with pytest.raises(RunDirectoryError, match=r"no network takes at most 0\.1 ms; the fastest, trial 1, takes 2\.1"):
        run.best(below_ms=0.1)


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ((0.11, 0.10, 0.09), "Every accuracy is at chance"),
        ((0.9, 0.9, 0.5), "1 other trial has the same reward as trial 1"),
        ((0.90, 0.89, 0.5), "trial 1 has the highest of 3 single noisy rewards, and 1 other differs"),
    ],
)
def test_a_best_that_is_not_sure_is_said(run: Run, accuracies: tuple[float, ...], said: str) -> None:
    leaders = ranked(trials_of(run, *((accuracy, 1.0) for accuracy in accuracies)))
    assert said in "\n".join(warnings(leaders, NOISE, classes=10))


def test_a_clear_best_needs_no_warning(run: Run) -> None:
    assert warnings(ranked(trials_of(run, (0.9, 1), (0.5, 1))), NOISE, classes=10) == []


def test_a_target_that_no_network_meets_is_among_the_notes(run: Run) -> None:
    assert any("No network meets latency.target_ms = 1" in note for note in run.notes())
    assert not any("No network meets" in note for note in run.notes(target_ms=3.0))


def test_a_run_whose_trials_all_failed_says_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = replace(run.trial(3), failure=Failure(FailureKind.OUT_OF_MEMORY, "too\n\x1b[31mlarge"))
    trials = (failed, replace(failed, id=4))
    monkeypatch.setattr(Run, "trials", trials)
    monkeypatch.setattr(Run, "best_trials", lambda *_, **__: [])
    monkeypatch.setattr(Run, "counts", lambda _: {"proposed": 0, "complete": 0, "failed": 2})
    assert run.notes() == [r"None of 2 trials succeeded: 2 x out_of_memory: too\x0a\x1b[31mlarge"]
    with pytest.raises(RunDirectoryError, match=r"none of 2 trials succeeded \(2 x out_of_memory: too.*large\)"):
        run.best()
