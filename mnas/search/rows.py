"""Rows of a store, which may come from elsewhere, read and checked."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from mnas.documents.check import convert
from mnas.documents.errors import DocumentError
from mnas.documents.json_text import parse_json
from mnas.errors import Failure
from mnas.search.trial import ControllerCall, FinalistTraining, Trial
from mnas.training.rungs import rung_results

TRIAL_COLUMNS = (
    "id, state, indices, architecture, fingerprint, repeat_of, training, latency, accuracy, latency_ms, reward, "
    "failure_kind, failure_message, proposed_at, finished_at"
)
FINALIST_COLUMNS = (
    "id, trial, seed, state, training, latency, accuracy, latency_ms, reward, failure_kind, failure_message, "
    "proposed_at, finished_at"
)
TRAINING_COLUMN, LATENCY_COLUMN = (TRIAL_COLUMNS.split(", ").index(name) for name in ("training", "latency"))
"""Where the two records are in a row of `TRIAL_COLUMNS`."""
_T = TypeVar("_T")


def trial_of_row(row: tuple[Any, ...], source: str) -> Trial:
    """Return the trial of a row of `TRIAL_COLUMNS`.

    Raises:
        DocumentError: The row is none that mnas wrote.
    """
    training, latency = row[TRAINING_COLUMN], row[LATENCY_COLUMN]
    return trial_with_halves(row, _half(training, "accuracy", source), _half(latency, "latency_ms", source), source)


def trial_with_halves(row: tuple[Any, ...], training: object, latency: object, source: str) -> Trial:
    """Return the trial of a row of `TRIAL_COLUMNS`, of which the caller has read the two records.

    Raises:
        DocumentError: The row is none that mnas wrote.
    """
    (number, state, decisions, architecture, fingerprint, repeat_of, _, _, *rest) = row
    accuracy, latency_ms, reward, failure_kind, failure_message, proposed_at, finished_at = rest
    fields = {
        "id": number,
        "state": state,
        "decisions": parse_json(decisions, source=source),
        "architecture": parse_json(architecture, source=source),
        "fingerprint": fingerprint,
        "repeat_of": repeat_of,
        "training": training,
        "latency": latency,
        "accuracy": accuracy,
        "latency_ms": latency_ms,
        "reward": reward,
        "failure": failure_kind and {"kind": failure_kind, "message": failure_message},
        "proposed_at": proposed_at,
        "finished_at": finished_at,
    }
    trial = _converted(fields, Trial, source)
    _check_result(trial, source)
    try:
        for time in (trial.proposed_at, trial.finished_at):
            if time is not None:
                datetime.fromisoformat(time)
        for name, latency_ms in trial.other_latencies_ms.items():
            convert(latency_ms, float, source=f"{source}: latency on {name}")
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise DocumentError(f"{source}: cannot be read ({error})") from error
    return trial


def finalist_training_of_row(row: tuple[Any, ...], source: str) -> FinalistTraining:
    """Return the training of a finalist of a row of `FINALIST_COLUMNS`.

    Raises:
        DocumentError: The row is none that mnas wrote.
    """
    fields = dict(zip(FINALIST_COLUMNS.split(", "), row, strict=True))
    kind, message = fields.pop("failure_kind"), fields.pop("failure_message")
    fields["training"] = _half(fields["training"], "accuracy", source)
    fields["latency"] = _half(fields["latency"], "latency_ms", source)
    fields["failure"] = kind and {"kind": kind, "message": message}
    training = _converted(fields, FinalistTraining, source)
    _check_result(training, source)
    return training


class _Second(msgspec.Struct):
    """What every record of a second training has."""

    accuracy: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if (self.accuracy is None) == (self.failure is None):
            raise ValueError("has neither `accuracy` nor `failure`, or both")


def second_training_of_row(row: tuple[Any, ...], source: str) -> tuple[int, dict[str, Any]]:
    """Return the trial and the record of a row of `second_trainings`: trial and training.

    Raises:
        DocumentError: The row is none that mnas wrote.
    """
    number, text = convert(row, tuple[int, str], source=source)
    record = convert(parse_json(text, source=source, without_infinite=True), dict[str, Any], source=source)
    convert(record, _Second, source=source)
    return number, record


def _check_result(ended: Trial | FinalistTraining, source: str) -> None:
    """Raise DocumentError if what is complete lacks a number, or what has failed a reason."""
    if ended.state == "complete" and None in (ended.accuracy, ended.latency_ms, ended.reward, ended.finished_at):
        raise DocumentError(f"{source}: is complete but lacks a result")
    if ended.state == "stopped":
        _check_stopped(ended, source)
    if ended.state == "failed" and ended.failure is None:
        raise DocumentError(f"{source}: has failed, but not why")


def _check_stopped(ended: Trial | FinalistTraining, source: str) -> None:
    if None in (ended.latency_ms, ended.finished_at) or (ended.accuracy is None) != (ended.reward is None):
        raise DocumentError(f"{source}: is stopped but lacks a result")
    try:
        rung_results(ended.training or {})
    except ValueError as error:
        raise DocumentError(f"{source}: {error}") from error


def call_of_row(row: tuple[Any, ...], source: str) -> ControllerCall:
    """Return the call of a row of `controller_log`: call, count, trials and rewards.

    Raises:
        DocumentError: The row is none that mnas wrote.
    """
    call, count, ids, rewards = row
    fields = {
        "call": call,
        "count": count,
        "trial_ids": parse_json(ids, source=source),
        "rewards": None if rewards is None else parse_json(rewards, source=source),
    }
    return _converted(fields, ControllerCall, source)


def _converted(fields: dict[str, Any], type_: type[_T], source: str) -> _T:
    """Convert the fields of a row; its JSON has been checked when it was parsed, so only its numbers are left."""
    try:
        if all(math.isfinite(value) for value in fields.values() if isinstance(value, float)):
            return msgspec.convert(fields, type_)
    except msgspec.ValidationError:
        pass  # `convert` says what does not fit
    return convert(fields, type_, source=source)


def _half(text: str | None, key: str, source: str) -> object:
    """Return the record of a half; None if its number `key` was not finite when it was stored."""
    if text is None:
        return None
    record = parse_json(text, source=source, without_infinite=True)
    lost = isinstance(record, dict) and key in record and record[key] is None
    return None if lost else record
