"""The latency records of a trial, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnas.search.store import Trial


def latency_records(trial: Trial) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the latency records of a trial with the names of their phones, that of the named phone first."""
    if trial.latency is None:
        return []
    others = trial.latency.get("others", {})
    records = [trial.latency, *others.values()] if isinstance(others, Mapping) else [trial.latency]
    return [(_phone_name(record), record) for record in records if isinstance(record, Mapping)]


def _phone_name(record: Mapping[str, Any]) -> str:
    phone = record.get("phone")
    return str(phone.get("name", "phone")) if isinstance(phone, Mapping) else "phone"


def record_ms(record: Mapping[str, Any]) -> float:
    """Return how long the loadings, warm-ups and runs of a latency record took, in ms; pauses are not recorded."""
    total = 0.0
    for session in record.get("sessions", ()):
        loaded = session.get("loaded") or {}
        total += sum(loaded.get(key) or 0.0 for key in ("load_ms", "first_run_ms", "warmup_ms"))
        total += sum(session["window"]["wall_ms"])
    return total + sum(sum(rejected["window"]["wall_ms"]) for rejected in record.get("rejected_windows", ()))
