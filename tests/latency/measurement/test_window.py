from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.measurement.protocol import MeasurementSettings
from latency.measurement.window import TimedWindow, median_absolute_deviation, percentile, rejection

TIMES_MS = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60)


def window(wall_ms: list[float], cpu_ms: list[float] | None = None, switches: int = 0) -> TimedWindow:
    return TimedWindow(tuple(wall_ms), tuple(cpu_ms or wall_ms), switches)


@given(TIMES_MS, st.randoms())
def test_the_order_of_the_runs_does_not_matter(times_ms: list[float], order: random.Random) -> None:
    shuffled = order.sample(times_ms, len(times_ms))
    first, second = window(times_ms), window(shuffled)
    for name in ("latency_ms", "mad_ms", "p90_ms", "min_ms", "cpu_latency_ms", "contention"):
        assert getattr(first, name) == getattr(second, name)


@given(TIMES_MS, st.floats(0.1, 10))
def test_statistics_scale_with_the_times(times_ms: list[float], factor: float) -> None:
    base, scaled = window(times_ms), window([time * factor for time in times_ms])
    for name in ("latency_ms", "mad_ms", "p90_ms", "min_ms", "cpu_latency_ms"):
        assert getattr(scaled, name) == pytest.approx(getattr(base, name) * factor, rel=1e-9, abs=1e-9)
    assert scaled.relative_mad == pytest.approx(base.relative_mad, rel=1e-6, abs=1e-9)


@given(TIMES_MS, st.floats(0, 1000))
def test_a_constant_delay_moves_the_median_and_leaves_the_mad(times_ms: list[float], delay_ms: float) -> None:
    base, delayed = window(times_ms), window([time + delay_ms for time in times_ms])
    assert delayed.latency_ms == pytest.approx(base.latency_ms + delay_ms)
    assert delayed.mad_ms == pytest.approx(base.mad_ms, abs=1e-6)


@given(TIMES_MS, st.floats(0, 100))
def test_percentile_agrees_with_numpy(times_ms: list[float], percent: float) -> None:
    assert percentile(times_ms, percent) == pytest.approx(float(np.percentile(times_ms, percent)))


@given(TIMES_MS)
def test_minimum_median_and_p90_are_in_order(times_ms: list[float]) -> None:
    timed = window(times_ms)
    assert timed.min_ms <= timed.latency_ms <= timed.p90_ms or len(times_ms) == 1


@given(st.lists(st.floats(1, 2), min_size=5, max_size=50), st.floats(100, 1e6))
def test_one_outlier_cannot_move_median_or_mad_out_of_the_others_range(
    times_ms: list[float], outlier_ms: float
) -> None:
    disturbed = [*times_ms, outlier_ms]
    assert min(times_ms) <= window(disturbed).latency_ms <= max(times_ms)
    assert median_absolute_deviation(disturbed) <= max(times_ms) - min(times_ms)


@given(TIMES_MS, st.floats(1, 5))
def test_contention_is_the_ratio_of_wall_to_cpu_time(cpu_ms: list[float], ratio: float) -> None:
    timed = window([time * ratio for time in cpu_ms], cpu_ms)
    assert timed.contention == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("wall_ms", "cpu_ms"),
    [((), ()), ((1.0,), ()), ((1.0, 2.0), (1.0,)), ((0.0,), (1.0,)), ((1.0,), (0.0,)), ((-1.0,), (1.0,))],
)
def test_impossible_runs_are_refused(wall_ms: tuple[float, ...], cpu_ms: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a window has"):
        TimedWindow(wall_ms, cpu_ms, 0)


def test_a_steady_window_is_accepted() -> None:
    assert rejection(window([1.0, 1.01, 1.02] * 10), MeasurementSettings()) is None


@pytest.mark.parametrize(
    ("timed", "reason"),
    [
        (window([1.04] * 10, [1.0] * 10), "contention 1.040 is above 1.03"),
        (window([1.0] * 100, switches=3), "3 involuntary context switches in 0.100 s"),
        (replace(window([1.0] * 9), others_busy=0.5), "other work on 50% of the machine's cores is above 10%"),
        (window([1.0, 1.1, 1.2, 1.3, 1.4]), "relative MAD 0.083 is above 0.03"),
    ],
)
def test_a_disturbed_window_is_rejected_with_number_and_limit(timed: TimedWindow, reason: str) -> None:
    assert reason in str(rejection(timed, MeasurementSettings()))


def test_a_core_that_is_slower_than_at_its_best_is_rejected() -> None:
    timed = replace(window([1.0] * 9), reference_before_ms=0.1, reference_after_ms=0.11, reference_best_ms=0.1)
    assert "10.0% slower than at its best" in str(rejection(timed, MeasurementSettings()))


def test_a_core_at_its_best_is_accepted() -> None:
    timed = replace(window([1.0] * 9), reference_before_ms=0.1, reference_after_ms=0.102, reference_best_ms=0.1)
    assert rejection(timed, MeasurementSettings()) is None


def test_a_little_other_work_is_accepted() -> None:
    assert rejection(replace(window([1.0] * 9), others_busy=0.05), MeasurementSettings()) is None


def test_a_few_context_switches_in_a_long_window_are_accepted() -> None:
    assert rejection(window([20.0] * 50, switches=11), MeasurementSettings()) is None
    assert rejection(window([20.0] * 50, switches=12), MeasurementSettings()) is not None


def test_a_stable_but_shared_window_is_rejected() -> None:
    """The median of a shared core can be steady and 2.6 times too long; only wall / CPU time tells."""
    timed = window([2.6] * 50, [1.0] * 50)
    assert timed.mad_ms == 0
    assert "contention" in str(rejection(timed, MeasurementSettings()))


@pytest.mark.parametrize("key", ["others_busy", "reference_before_ms", "reference_after_ms", "reference_best_ms"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
def test_a_condition_that_is_not_finite_is_refused(key: str, number: float) -> None:
    fields: dict[str, Any] = {"wall_ms": (1.0,), "cpu_ms": (1.0,), "involuntary_switches": 0, key: number}
    with pytest.raises(ValueError, match="finite"):
        TimedWindow(**fields)
