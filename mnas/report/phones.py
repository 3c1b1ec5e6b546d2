"""The health of a run's phones over time, as their latency records tell it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mnas.report.records import latency_records
from mnas.search.store import Trial

_NUMBER = re.compile(r"\d[\d.,]*%?")
_KIND_LENGTH = 80
_IDENTITY = ("kind", "fingerprint", "engine", "engine_version")
# At most so many measurements of one phone are drawn: every one, or evenly spaced ones.
SHOWN = 2000


def phone_health(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return, for each physical phone, its identity, its measurements in order of time, and its rejected windows.

    A measurement has: the trial, when it ended, the drift of the reference network against its best (0.05: 5% slower),
    the relative MAD of the runs, the highest temperature (degrees C), the core's clock (kHz), the battery's temperature
    and charge, and the number of windows. What is not known is None.
    """
    records: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for trial in trials:
        for name, record in latency_records(trial):
            serial = str((record.get("phone") or {}).get("serial", ""))
            records.setdefault((name, serial), []).append((trial.id, record))
    return [_phone(name, serial, known) for (name, serial), known in sorted(records.items())]


def _phone(name: str, serial: str, records: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    ordered = sorted(records, key=lambda item: (str(item[1].get("measured_at", "")), item[0]))
    rejected = Counter(
        reason_kind(window["reason"]) for _, record in records for window in record.get("rejected_windows", ())
    )
    identity = dict(ordered[0][1].get("phone") or {})
    step = max(1, -(-len(ordered) // SHOWN))
    return {
        "name": name,
        "serial": serial,
        "identity": {key: identity[key] for key in _IDENTITY if key in identity},
        "measured": len(ordered),
        "windows": sum(_windows(record) for _, record in ordered),
        "rejected": [{"reason": reason, "count": count} for reason, count in rejected.most_common()],
        "measurements": [_measurement(trial, record) for trial, record in ordered[::step]],
    }


def reason_kind(reason: str) -> str:
    """Return the reason of a rejected window without its numbers.

    >>> reason_kind("contention 1.052 is above 1.03 (wall/CPU time)")
    'contention … is above … (wall/CPU time)'
    """
    return _NUMBER.sub("…", reason)[:_KIND_LENGTH]


def _windows(record: Mapping[str, Any]) -> int:
    return len(record.get("sessions", ())) + len(record.get("rejected_windows", ()))


def _measurement(trial: int, record: Mapping[str, Any]) -> dict[str, Any]:
    windows = [session["window"] for session in record.get("sessions", ())]
    conditions = record.get("conditions") or {}
    summary = record.get("summary") or {}
    latency_ms, mad_ms = record.get("latency_ms"), summary.get("mad_ms")
    return {
        "trial": trial,
        "at": record.get("measured_at"),
        "drift": _largest([_drift(window) for window in windows]),
        "relative_mad": mad_ms / latency_ms if mad_ms is not None and latency_ms else None,
        "temperature_c": _largest([window.get("temperature_c_after") for window in windows]),
        "frequency_khz": _largest([window.get("frequency_khz_after") for window in windows]),
        "battery_c": conditions.get("battery_temperature_c"),
        "battery_percent": conditions.get("battery_percent"),
        "windows": _windows(record),
        "rejected": len(record.get("rejected_windows", ())),
    }


def _drift(window: Mapping[str, Any]) -> float | None:
    before, after, best = (window.get(f"reference_{when}_ms") for when in ("before", "after", "best"))
    return None if before is None or after is None or not best else max(before, after) / best - 1


def _largest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
