"""Where the time of a search went: of each trial, in sum, and how busy workers and phones were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from mnas.report.facts import TrialFacts

BINS = 120
# In the order in which a child goes through them.
PHASES = ("import", "build", "compile", "train", "evaluate")


class TrialTimes(msgspec.Struct, frozen=True, gc=False):
    """The times of one trial, in seconds.

    Attributes:
        proposed_s: When it was proposed, counted from the first proposal of the run.
        duration_s: From proposal to outcome; None if it has not ended.
        phases: Wall time of each phase of the child; empty if it was not trained.
        training_s: Their sum; None if the child was not trained.
        queue_s: From proposal to the start of the child; None if the run does not record the start, or no child.
        phone_s: What its accepted and rejected windows, warm-up and loading took on the phones; 0 if every latency was
            known from an earlier run; None if it was not timed.
        training_began_s: When the child was started, counted as `proposed_s`. Known of runs that record it; otherwise
            the time of the proposal.
        measured: Begin and end of each measurement, counted as `proposed_s`, by the name of the phone.
    """

    proposed_s: float
    duration_s: float | None
    phases: Mapping[str, float]
    training_s: float | None
    queue_s: float | None
    phone_s: float | None
    training_began_s: float
    measured: tuple[tuple[str, float, float], ...]


def trial_times(trials: Sequence[TrialFacts]) -> list[TrialTimes]:
    """Return the times of trials."""
    if not trials:
        return []
    proposed = [_time(one.trial.proposed_at) for one in trials]
    start = min(proposed)
    return [_times(one, at, start) for one, at in zip(trials, proposed, strict=True)]


def time_sums(times: Iterable[TrialTimes]) -> dict[str, Any]:
    """Return the seconds of all trials in sum: each phase of the children, the phones, and what trials waited.

    `queue_s` is waiting for a worker, None for a run that does not record when children start; `waiting_s` is all other
    waiting.
    """
    phases: Counter[str] = Counter()
    phone_s = waiting_s = 0.0
    queue_s: float | None = None
    for one in times:
        phases.update(one.phases)
        phone_s += one.phone_s or 0.0
        if one.duration_s is not None and one.training_s is not None:
            waiting_s += max(0.0, one.duration_s - one.training_s - (one.queue_s or 0.0))
        if one.queue_s is not None:
            queue_s = (queue_s or 0.0) + one.queue_s
    names = [*PHASES, *sorted(phases.keys() - set(PHASES))]
    return {
        "phases": [{"name": name, "seconds": round(phases[name], 3)} for name in names if name in phases],
        "phone_s": round(phone_s, 3),
        "queue_s": None if queue_s is None else round(queue_s, 3),
        "waiting_s": round(waiting_s, 3),
    }


def busy(times: Sequence[TrialTimes]) -> dict[str, Any]:
    """Return how many children trained, and how busy each phone was, in equal intervals of the run's time."""
    children = [
        (one.training_began_s, one.training_began_s + one.training_s) for one in times if one.training_s is not None
    ]
    phones: dict[str, list[tuple[float, float]]] = {}
    for one in times:
        for name, begin, end in one.measured:
            phones.setdefault(name, []).append((begin, end))
    everything = [*children, *(span for spans in phones.values() for span in spans)]
    end = max((end for _, end in everything), default=0.0)
    if end <= 0:
        return {"step_s": 0.0, "children": [], "phones": {}}
    return {
        "step_s": end / BINS,
        "children": _occupancy(children, end),
        "phones": {name: _occupancy(spans, end) for name, spans in phones.items()},
    }


def _occupancy(spans: Sequence[tuple[float, float]], end: float) -> list[float]:
    """Return the mean number of spans that are open in each of `BINS` intervals from 0 to `end`."""
    if not spans:
        return [0.0] * BINS
    begins, stops = np.array(spans).T
    # The time that spans have been open until each edge; between two edges, the difference.
    until = [float(np.clip(edge - begins, 0, stops - begins).sum()) for edge in np.linspace(0, end, BINS + 1)]
    return [round((after - before) * BINS / end, 4) for before, after in pairwise(until)]


def _times(one: TrialFacts, proposed: float, start: float) -> TrialTimes:
    finished_at = one.trial.finished_at
    measured = tuple(_measured(one, proposed, start))
    known = sum(end - begin for _, begin, end in measured) if one.measurements else None
    began = _known_time(one.started_at)
    return TrialTimes(
        proposed_s=round(proposed - start, 3),
        duration_s=None if finished_at is None else round(_time(finished_at) - proposed, 3),
        phases=one.phases,
        training_s=round(sum(one.phases.values()), 3) if one.phases else None,
        queue_s=None if began is None else round(max(0.0, began - proposed), 3),
        phone_s=None if known is None else round(known, 3),
        training_began_s=round((proposed if began is None else began) - start, 3),
        measured=measured,
    )


def _measured(one: TrialFacts, proposed: float, start: float) -> Iterable[tuple[str, float, float]]:
    for measurement in one.measurements:
        end = _known_time(measurement.at)
        # Before the proposal: an earlier run, or an earlier trial of the same network, has measured it.
        if end is None or end < proposed:
            continue
        yield measurement.phone.name, round(end - measurement.took_s - start, 3), round(end - start, 3)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _known_time(value: object) -> float | None:
    """Return a time of a record, whose values nobody has checked; None if it is none."""
    try:
        return _time(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
