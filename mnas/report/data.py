"""The data of a report, as plain JSON: nothing in it that the runs do not store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

import mnas
from mnas.documents.changes import flat
from mnas.errors import Error
from mnas.report.facts import TrialFacts, read_facts
from mnas.report.learning import choice_shares, importances
from mnas.report.phones import phone_health
from mnas.report.references import read_references
from mnas.report.times import TrialTimes, busy, time_sums, trial_times
from mnas.report.trials import detailed, details, failures, other_latencies, trial_columns
from mnas.search.pareto import pareto_front
from mnas.search.ranking import close_to_best, noise_of, ranked, warnings
from mnas.search.run import Run
from mnas.search.run_directory import read_store
from mnas.search.store import Trial
from mnas.search.target import target_note
from mnas.search.trial import TrialState
from search_space import Decision, SearchSpace, cost


def report_data(runs: Sequence[Run], references: Iterable[Path] = ()) -> dict[str, Any]:
    """Return the data of a report of runs.

    Args:
        runs: The runs.
        references: Files of networks to compare with, see `mnas.report.references`.

    Raises:
        Error: A run or a file cannot be read.
    """
    compared = read_references(references, runs)
    data = []
    for run in runs:
        with read_store(run.directory) as store:
            facts = read_facts(store)
            found = run_data(run, facts)
            chosen = detailed([one.trial for one in facts], found["pareto"])
            data.append(found | {"details": details(map(store.trial, chosen))})
    return report_of(data) | {"references": compared}


def report_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the data of a report from those of its runs."""
    experiments = [run["experiment"] for run in runs]
    return {"mnas_version": mnas.__version__, "runs": runs, "differences": differences(experiments), "references": []}


def run_data(run: Run, facts: Sequence[TrialFacts]) -> dict[str, Any]:
    """Return the data of one run, of whose trials these are the facts; `details` are left out."""
    trials = [one.trial for one in facts]
    times = trial_times(facts)
    decisions = run_decisions(run)
    alpha, beta = run.experiment.reward.exponents
    experiment = msgspec.to_builtins(run.experiment)
    return {
        "name": run.directory.resolve().name,
        "directory": str(run.directory),
        "group": _group(experiment),
        "experiment": experiment,
        "classes": list(run.images.class_names or ()),
        "num_classes": run.images.num_classes,
        "target_ms": run.experiment.latency.target_ms,
        "phone": run.experiment.latency.phone,
        "others": {name: other.target_ms for name, other in run.experiment.latency.others.items()},
        "exponents": [alpha, beta],
        "verdict": verdict(run, trials, times),
        "trials": trial_columns(facts, times),
        "other_latencies_ms": other_latencies(trials, run.experiment.latency.others),
        "pareto": [trial.id for trial in pareto_front(trials)],
        "phase_s": _phase_columns(times),
        "times": time_sums(times),
        "busy": busy(times),
        "failures": failures(trials),
        "phones": phone_health(facts),
        "shares": choice_shares(trials, decisions),
        "importances": importances(trials, decisions),
    }


def verdict(run: Run, trials: Sequence[Trial], times: Sequence[TrialTimes]) -> dict[str, Any]:
    """Return what the page says first: the counts, the cost, the best network and how sure that is.

    `search_s` is the time of searching, without that between sessions; of a run that does not record it, the time from
    the first proposal to the last outcome. `notes` are those of `Run.notes`. `finalists` are those of `Run.finalists`,
    the best first. `standard_error` is that of the best accuracy: with `is_lower_bound` that of `reward_images`
    independent images, otherwise that between trainings of one network. `near_best` counts the other networks whose
    reward differs from the best by no more than the standard error of the difference; None if that is not known, or if
    finalists tell more.
    """
    counts = {state: sum(trial.state == state for trial in trials) for state in get_args(TrialState)}
    with read_store(run.directory) as store:
        searched_s = store.search_s()
    ends = [one.proposed_s + one.duration_s for one in times if one.duration_s is not None]
    finalists = run.finalists()
    leaders = [*(one.trial for one in finalists[:1]), *ranked(trials)]
    noise = noise_of(trials, run.reward_images, run.second_trainings())
    note = target_note(trials, run.experiment)
    found: dict[str, Any] = {
        "counts": counts,
        "of": run.experiment.search.trials,
        "search_s": searched_s or max(ends, default=0.0),
        "children_s": round(sum(one.training_s or 0.0 for one in times), 3),
        "phone_s": round(sum(one.phone_s or 0.0 for one in times), 3),
        "reward_images": run.reward_images,
        "notes": [
            *warnings(leaders, noise, run.images.num_classes, confirmed=bool(finalists)),
            *([] if note is None else [note]),
        ],
        "finalists": [{"trial": one.trial.id, **one.to_dict()} for one in finalists],
        "best": None,
    }
    if not leaders:
        return found
    best = leaders[0]
    error = None if best.accuracy is None else noise.error(best.accuracy)
    counted = cost(run.image_form.lower(run.architecture(best)))
    summary = dict((run.trial(best.id).latency or {}).get("summary") or {})
    found["best"] = {
        "trial": best.id,
        "accuracy": best.accuracy,
        "standard_error": error,
        "is_lower_bound": noise.is_lower_bound,
        "near_best": None if error is None or finalists else close_to_best(leaders, noise),
        "latency_ms": best.latency_ms,
        "mad_ms": summary.get("mad_ms"),
        "p90_ms": summary.get("p90_ms"),
        "min_ms": summary.get("min_ms"),
        "other_latencies_ms": best.other_latencies_ms,
        "reward": best.reward,
        "parameters": counted.trainable_params,
        "multiply_adds": counted.multiply_adds,
    }
    return found


def differences(experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the settings that differ between experiments: the key, and its value in each of them as text."""
    settings = [flat(one) for one in experiments]
    keys = sorted({key for one in settings for key in one})
    rows = [(key, [_text(one.get(key)) for one in settings]) for key in keys]
    return [{"key": key, "values": values} for key, values in rows if len(set(values)) > 1]


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _group(experiment: Mapping[str, Any]) -> str:
    """Return a text that is the same for runs of one experiment with different seeds."""
    settings = flat(experiment)
    settings.pop("seed", None)
    return repr(sorted(settings.items(), key=lambda item: item[0]))


def _phase_columns(times: Sequence[TrialTimes]) -> dict[str, list[float | None]]:
    names = list(dict.fromkeys(name for one in times for name in one.phases))
    return {name: [None if name not in one.phases else round(one.phases[name], 3) for one in times] for name in names}


def run_decisions(run: Run) -> tuple[Decision, ...]:
    """Return the decisions of the run's space; none if a run of mnas 0.1 kept no space and the file is gone."""
    with read_store(run.directory) as store:
        stored = store.meta().get("space")
    try:
        space = run.experiment.load_space() if stored is None else msgspec.json.decode(stored, type=SearchSpace)
    except (Error, msgspec.DecodeError):
        return ()
    return space.decisions
