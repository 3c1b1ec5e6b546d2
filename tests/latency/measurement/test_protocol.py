from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from latency.measurement.protocol import MeasurementSettings


@pytest.mark.parametrize(
    "change",
    [
        {"warmup_runs": -1},
        {"warmup_runs": 1.5},
        {"warmup_runs": True},
        {"warmup_min_ms": -0.1},
        {"warmup_min_ms": float("nan")},
        {"rewarm_runs": -1},
        {"rewarm_min_ms": float("inf")},
        {"runs": 0},
        {"min_runs": 0},
        {"window_budget_ms": 0.0},
        {"contention_limit": 0.99},
        {"relative_mad_limit": -0.01},
        {"switches_per_s_limit": -1.0},
        {"others_busy_limit": -0.1},
        {"reference_runs": 0},
        {"drift_limit": -0.1},
        {"calibration_s": -1.0},
        {"max_attempts": 0},
        {"backoff_s": -1.0},
        {"load_timeout_s": 0.0},
        {"window_timeout_s": "5"},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(change))} is .* it must be"):
        MeasurementSettings(**change)


def test_every_setting_is_part_of_the_digest() -> None:
    settings = MeasurementSettings()
    for field in fields(settings):
        value = getattr(settings, field.name)
        changed = replace(settings, **{field.name: value + 1 if isinstance(value, int) else value * 1.01 + 0.001})
        assert changed.digest != settings.digest, field.name


def test_equal_settings_have_equal_digests() -> None:
    assert MeasurementSettings(runs=20).digest == MeasurementSettings(runs=20).digest
