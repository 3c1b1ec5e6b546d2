"""The trials of a run as columns, and the details of some: what the page's charts and tables are drawn from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mnas.report.facts import TrialFacts
from mnas.report.times import TrialTimes
from mnas.search.ranking import ranked
from mnas.search.run import outcome_columns
from mnas.search.store import Trial

# The details of one trial are some kilobytes: with those of all, a report of 10,000 trials would have 60 MB.
DETAILED_BEST = 40
DETAILED_LAST = 10
DETAIL_CHARACTERS = 900_000
_OF_TRAINING = ("loss", "train_loss", "steps", "images_per_s", "resident_mb")


def trial_columns(facts: Sequence[TrialFacts], times: Sequence[TrialTimes]) -> dict[str, Any]:
    """Return the trials as columns of equal length; accuracies, latencies and rewards are the store's own numbers.

    Times are in seconds, rounded to 1 ms; `proposed_s` counts from the first proposal. `blocks` holds the different
    block strings of each place of a network, and `block` their indices for each trial.
    """
    trials = [one.trial for one in facts]
    names, indices = _interned([trial.architecture.get("blocks", ()) for trial in trials])
    return {
        **outcome_columns(trials, {}),
        "blocks": names,
        "block": indices,
        "proposed_s": [one.proposed_s for one in times],
        "duration_s": [one.duration_s for one in times],
        "queue_s": [one.queue_s for one in times],
        "training_s": [one.training_s for one in times],
        "phone_s": [one.phone_s for one in times],
        "epochs": [one.epochs for one in facts],
    }


def other_latencies(trials: Sequence[Trial], names: Iterable[str]) -> dict[str, list[float | None]]:
    """Return the latencies (ms) on each further phone, one for each trial."""
    return {name: [trial.other_latencies_ms.get(name) for trial in trials] for name in names}


def failures(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return what failed: number, kind and text of each failed trial that is no repeat."""
    return [
        {"trial": trial.id, "kind": trial.failure.kind.value, "message": trial.failure.message}
        for trial in trials
        if trial.failure is not None and trial.repeat_of is None
    ]


def detailed(trials: Sequence[Trial], front: Iterable[int]) -> list[int]:
    """Return the numbers of the best, the Pareto-optimal and the last trials, whose details a file holds."""
    best, last = ranked(trials)[:DETAILED_BEST], trials[-DETAILED_LAST:]
    return list(dict.fromkeys([*(trial.id for trial in best), *front, *(trial.id for trial in last)]))


def details(trials: Iterable[Trial]) -> dict[str, dict[str, Any]]:
    """Return the details of trials, by number, the first ones up to a bound of length.

    The rest is in the store: `mnas show RUN --json` prints it, and the live page asks for it.
    """
    found: dict[str, dict[str, Any]] = {}
    left = DETAIL_CHARACTERS
    for trial in trials:
        one = trial_details(trial)
        left -= len(json.dumps(one))
        if left < 0:
            break
        found[str(trial.id)] = one
    return found


def trial_details(trial: Trial) -> dict[str, Any]:
    """Return what is told of one trial only: its network, its training and the raw runs of its measurements."""
    training = trial.training or {}
    return {
        "architecture": dict(trial.architecture),
        "failure": trial.failure and {"kind": trial.failure.kind.value, "message": trial.failure.message},
        "proposed_at": trial.proposed_at,
        "finished_at": trial.finished_at,
        "training": {key: training[key] for key in _OF_TRAINING if key in training},
        "epoch_losses": list(training.get("epoch_losses", ())),
        "rungs": list(training.get("rungs", ())),
        "phones": [_windows(name, record) for name, record in _latency_records(trial)],
    }


def _windows(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "latency_ms": record.get("latency_ms"),
        "measured_at": record.get("measured_at"),
        "summary": dict(record.get("summary") or {}),
        "accepted": [list(session["window"]["wall_ms"]) for session in record.get("sessions", ())],
        "rejected": [
            {"reason": rejected["reason"], "wall_ms": list(rejected["window"]["wall_ms"])}
            for rejected in record.get("rejected_windows", ())
        ],
    }


def _latency_records(trial: Trial) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the latency records of a trial with the names of their phones, that of the named phone first."""
    if trial.latency is None:
        return []
    others = trial.latency.get("others", {})
    records = [trial.latency, *others.values()] if isinstance(others, Mapping) else [trial.latency]
    return [(_phone_name(record), record) for record in records if isinstance(record, Mapping)]


def _phone_name(record: Mapping[str, Any]) -> str:
    phone = record.get("phone")
    return str(phone.get("name", "phone")) if isinstance(phone, Mapping) else "phone"


def _interned(networks: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[list[int]]]:
    places = max(map(len, networks), default=0)
    names: list[dict[str, int]] = [{} for _ in range(places)]
    indices = [
        [names[place].setdefault(block, len(names[place])) for place, block in enumerate(blocks)] for blocks in networks
    ]
    return [list(known) for known in names], indices
