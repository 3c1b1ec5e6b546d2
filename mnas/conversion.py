"""The trials of a run for other programs: a table (CSV), a line of JSON each, or a study of Optuna."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mnas.documents.json_text import dump_json
from mnas.errors import ConfigurationError
from mnas.files import write_atomically
from mnas.report.data import run_decisions
from mnas.report.trials import trial_details
from mnas.search.run import Run
from mnas.search.store import Trial

# Characters with which a cell begins that spreadsheets would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(run: Run, path: Path) -> None:
    """Write the columns of `Run.columns` as CSV, a row for each trial; lists are joined by spaces.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    columns = run.columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
    write_atomically(path, text.getvalue().encode())


def to_jsonl(run: Run, path: Path) -> None:
    """Write a line of JSON for each trial: its columns, and the records of its training and its latency as stored."""
    columns = run.columns()
    lines = [
        dump_json({**dict(zip(columns, row, strict=True)), "training": trial.training, "latency": trial.latency})
        for row, trial in zip(zip(*columns.values(), strict=True), run.trials, strict=True)
    ]
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def to_optuna(run: Run, path: Path) -> None:
    """Write a study of Optuna into a new SQLite file, for Optuna's own dashboard; it maximises the reward.

    Parameters are the decisions of the search space. Accuracy, latencies, block strings and failures are user
    attributes. Pending trials are left out.

    Raises:
        ConfigurationError: Optuna is not installed, the file exists, or the run has no search space.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigurationError("--to optuna needs Optuna: pip install 'mnas[optuna]'") from error
    if path.exists():
        raise ConfigurationError(f"{path}: exists; name a new file")
    decisions = run_decisions(run)
    if not decisions:
        raise ConfigurationError(f"{run.directory}: its search space is not known, so there are no parameters")
    distributions = {one.name: optuna.distributions.CategoricalDistribution(one.choices) for one in decisions}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{path}", study_name=run.directory.resolve().name, direction="maximize"
    )
    columns = run.columns()
    for trial, blocks in zip(run.trials, columns["blocks"], strict=True):
        if trial.finished_at is None:
            continue
        chosen = {one.name: one.choices[index] for one, index in zip(decisions, trial.decisions, strict=True)}
        states = optuna.trial.TrialState
        study.add_trial(
            optuna.trial.FrozenTrial(
                number=trial.id - 1,
                trial_id=-1,
                state={"complete": states.COMPLETE, "stopped": states.PRUNED}.get(trial.state, states.FAIL),
                value=trial.reward,
                datetime_start=_local(trial.proposed_at),
                datetime_complete=_local(trial.finished_at),
                params=chosen,
                distributions=distributions,
                user_attrs=_attributes(trial, blocks),
                system_attrs={},
                intermediate_values={},
            )
        )


CONVERSIONS: Mapping[str, Callable[[Run, Path], None]] = {"optuna": to_optuna, "csv": to_csv, "jsonl": to_jsonl}


def convert_run(run: Run, target: str, path: Path) -> Path:
    """Write a run in one of the forms of `CONVERSIONS`, and return the path.

    Raises:
        ConfigurationError: The file cannot be written, or what the form needs is missing.
    """
    try:
        CONVERSIONS[target](run, path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror}); name another file") from error
    return path


def _attributes(trial: Trial, blocks: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "mnas_trial": trial.id,
        "accuracy": trial.accuracy,
        "latency_ms": trial.latency_ms,
        **{f"latency_ms {name}": latency_ms for name, latency_ms in trial.other_latencies_ms.items()},
        "blocks": blocks,
        "repeat_of": trial.repeat_of,
        "failure": trial.failure and f"{trial.failure.kind.value}: {trial.failure.message}",
        **trial_details(trial)["training"],
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _local(text: str) -> datetime:
    """Return a time as Optuna keeps it: local, without a zone."""
    return datetime.fromisoformat(text).astimezone().replace(tzinfo=None)


def _cell(value: object) -> object:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
