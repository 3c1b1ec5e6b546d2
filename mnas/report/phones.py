"""The health of a run's phones over time, as their latency records tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from mnas.report.facts import Measurement, TrialFacts

# At most so many measurements of one phone are drawn: every one, or evenly spaced ones.
SHOWN = 2000
_SHOWN_OF_EACH = (
    "at",
    "drift",
    "relative_mad",
    "temperature_c",
    "frequency_khz",
    "battery_c",
    "battery_percent",
)


def phone_health(trials: Sequence[TrialFacts]) -> list[dict[str, Any]]:
    """Return, for each physical phone, its identity, its measurements in order of time, and its rejected windows.

    Of each measurement: the trial, when it ended, and what `Measurement` tells of the phone's health.
    """
    of_phone: dict[tuple[str, str], list[tuple[int, Measurement]]] = {}
    for one in trials:
        for measurement in one.measurements:
            phone = measurement.phone
            of_phone.setdefault((phone.name, phone.serial), []).append((one.trial.id, measurement))
    return [_phone(measured) for _, measured in sorted(of_phone.items())]


def _phone(measured: list[tuple[int, Measurement]]) -> dict[str, Any]:
    measured.sort(key=lambda item: (item[1].at or "", item[0]))
    identity = msgspec.to_builtins(measured[0][1].phone)
    rejected = Counter(reason for _, one in measured for reason in one.rejected)
    step = max(1, -(-len(measured) // SHOWN))
    return {
        "name": identity.pop("name", "phone"),
        "serial": identity.pop("serial", ""),
        "identity": identity,
        "measured": len(measured),
        "windows": sum(one.windows for _, one in measured),
        "rejected": [{"reason": reason, "count": count} for reason, count in rejected.most_common()],
        "measurements": {
            "trial": [trial for trial, _ in measured[::step]],
            **{key: [getattr(one, key) for _, one in measured[::step]] for key in _SHOWN_OF_EACH},
        },
    }
