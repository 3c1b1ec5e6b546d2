"""Where the time of a search went: of each trial, in sum, and how busy workers and phones were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mnas.report.records import latency_records, record_ms
from mnas.search.store import Trial

BINS = 120
# In the order in which a child goes through them.
PHASES = ("import", "build", "compile", "train", "evaluate")


@dataclass(frozen=True)
class TrialTimes:
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


def trial_times(trials: Sequence[Trial]) -> list[TrialTimes]:
    """Return the times of trials."""
    if not trials:
        return []
    start = min(_time(trial.proposed_at) for trial in trials)
    return [_times(trial, start) for trial in trials]


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


def _occupancy(spans: Iterable[tuple[float, float]], end: float) -> list[float]:
    """Return the mean number of spans that are open in each of `BINS` intervals from 0 to `end`."""
    step = end / BINS
    open_s = [0.0] * BINS
    for begin, stop in spans:
        first, last = max(0, int(begin / step)), min(BINS - 1, int(stop / step))
        for number in range(first, last + 1):
            open_s[number] += max(0.0, min(stop, (number + 1) * step) - max(begin, number * step))
    return [round(seconds / step, 4) for seconds in open_s]


def _times(trial: Trial, start: float) -> TrialTimes:
    proposed = _time(trial.proposed_at)
    training = trial.training or {}
    phases = {
        str(name): float(phase["wall_s"])
        for name, phase in dict(training.get("phases") or {}).items()
        if isinstance(phase, Mapping) and isinstance(phase.get("wall_s"), int | float)
    }
    measured = tuple(_measured(trial, proposed, start))
    known = None if trial.latency is None else sum(end - begin for _, begin, end in measured)
    began = _known_time(training.get("started_at"))
    return TrialTimes(
        proposed_s=round(proposed - start, 3),
        duration_s=None if trial.finished_at is None else round(_time(trial.finished_at) - proposed, 3),
        phases=phases,
        training_s=round(sum(phases.values()), 3) if phases else None,
        queue_s=None if began is None else round(max(0.0, began - proposed), 3),
        phone_s=None if known is None else round(known, 3),
        training_began_s=round((proposed if began is None else began) - start, 3),
        measured=measured,
    )


def _measured(trial: Trial, proposed: float, start: float) -> Iterable[tuple[str, float, float]]:
    for name, record in latency_records(trial):
        end = _known_time(record.get("measured_at"))
        # Before the proposal: an earlier run, or an earlier trial of the same network, has measured it.
        if end is None or end < proposed:
            continue
        took = record_ms(record) / 1000
        yield name, round(end - took - start, 3), round(end - start, 3)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _known_time(value: object) -> float | None:
    """Return a time of a record, whose values nobody has checked; None if it is none."""
    try:
        return _time(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
