"""The Pareto front of a search: networks that no other one beats in both accuracy and latency."""

from __future__ import annotations

from collections.abc import Iterable

from mnas.search.store import Trial


def pareto_front(trials: Iterable[Trial]) -> list[Trial]:
    """Return the complete trials on the Pareto front, the fastest first; repeats are left out.

    Of trials with the same accuracy and latency the earlier one stays.
    """
    known = [trial for trial in trials if trial.state == "complete" and trial.repeat_of is None]
    front: list[Trial] = []
    for trial in sorted(known, key=lambda one: (_latency_ms(one), -_accuracy(one), one.id)):
        if not front or _accuracy(trial) > _accuracy(front[-1]):
            front.append(trial)
    return front


def _accuracy(trial: Trial) -> float:
    assert trial.accuracy is not None  # of a complete trial: the store sees to it
    return trial.accuracy


def _latency_ms(trial: Trial) -> float:
    assert trial.latency_ms is not None
    return trial.latency_ms
