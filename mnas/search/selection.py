"""Which trials of a run are shown, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from mnas.errors import ConfigurationError
from mnas.search.store import Trial

# The better value comes first.
ORDERS: Mapping[str, Callable[[Trial], float | None]] = {
    "trial": lambda trial: trial.id,
    "accuracy": lambda trial: None if trial.accuracy is None else -trial.accuracy,
    "latency": lambda trial: trial.latency_ms,
    "reward": lambda trial: None if trial.reward is None else -trial.reward,
}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def in_order(trials: Sequence[Trial], order: str) -> list[Trial]:
    """Return trials in one of `ORDERS`, those without the value last, equal ones by number."""
    key = ORDERS[order]

    def place(trial: Trial) -> tuple[bool, float, int]:
        value = key(trial)
        return value is None, value or 0.0, trial.id

    return sorted(trials, key=place)


def moment(text: str, now: datetime | None = None) -> datetime:
    """Return the time that `90m`, `2h`, `1d` ago was, or the time that ISO 8601 text says (UTC if it names no zone).

    Raises:
        ConfigurationError: The text is neither.
    """
    now = datetime.now(timezone.utc) if now is None else now
    try:
        if text[-1:] in _UNITS_S:
            return now - timedelta(seconds=float(text[:-1]) * _UNITS_S[text[-1]])
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"--since {text}: write 90m, 2h, 1d or a time such as 2026-03-01T08:00") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)


def ended_since(trials: Sequence[Trial], start: datetime) -> list[Trial]:
    """Return the trials that ended, or that are pending and were proposed, at `start` or later."""
    return [trial for trial in trials if datetime.fromisoformat(trial.finished_at or trial.proposed_at) >= start]
