"""What trainers and latency meters return, checked; what their exceptions are as failures; what is told of both."""

from __future__ import annotations

import math
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mnas.errors import FAILED_CANDIDATE_REWARD, Failure, FailureKind, TrialError
from mnas.search.store import UnstorableError
from mnas.search.trial import FinalistTraining, Outcome, Trial

# Characters that are kept of the text of a failure.
MESSAGE_LENGTH = 2000


class UnusableResultError(Exception):
    """A trainer or a latency meter returned something that cannot be stored or rewarded."""


def checked_training(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a trainer returned, its accuracy a number. Raises UnusableResultError if it has none."""
    accuracy = _number(result, "accuracy", "the trainer")
    if not 0 <= accuracy <= 1:
        raise UnusableResultError(f"the trainer returned the accuracy {accuracy}; it must be from 0 to 1")
    return {**result, "accuracy": accuracy}


def checked_latency(result: Mapping[str, Any], others: Iterable[str]) -> dict[str, Any]:
    """Return what a latency meter returned, its latency a number; `others` are the phones that must be there.

    Raises:
        UnusableResultError: A latency is missing or no positive number.
    """
    latency_ms = _latency_ms(result)
    measured = result.get("others", {})
    for phone in measured.values():
        _latency_ms(phone)
    for name in others:
        if name not in measured:
            raise UnusableResultError(f"the latency meter returned no `others` for {name!r}, whose latency is rewarded")
    return {**result, "latency_ms": latency_ms}


def deciding_latency(
    latency: Mapping[str, Any], target_ms: float, others_target_ms: Mapping[str, float]
) -> tuple[float, float]:
    """Return the latency and the target (ms) of the phone that decides the reward: that of the largest LAT / T."""
    pairs = [(float(latency["latency_ms"]), target_ms)]
    for name, other_ms in others_target_ms.items():
        pairs.append((float(latency["others"][name]["latency_ms"]), other_ms))
    return max(pairs, key=lambda pair: pair[0] / pair[1])


def _latency_ms(result: Mapping[str, Any]) -> float:
    latency_ms = _number(result, "latency_ms", "the latency meter")
    if latency_ms <= 0:
        raise UnusableResultError(f"the latency meter returned {latency_ms} ms; a latency must be above 0")
    return latency_ms


def _number(result: Mapping[str, Any], key: str, part: str) -> float:
    try:
        value = float(result[key])
    except (TypeError, KeyError, ValueError) as error:
        raise UnusableResultError(f"{part} returned {result!r}; a mapping with the number `{key}` is needed") from error
    if not math.isfinite(value):
        raise UnusableResultError(f"{part} returned {value} as `{key}`; it must be a finite number")
    return value


def failure_of(error: Exception) -> Failure:
    """Return the failure that an exception of a trainer or a latency meter is, its text printable and bounded."""
    if isinstance(error, TrialError):
        kind, text = error.failure.kind, error.failure.message
    elif isinstance(error, UnusableResultError):
        kind, text = FailureKind.INTERNAL, str(error)
    elif isinstance(error, UnstorableError):
        kind, text = (
            FailureKind.INTERNAL,
            (f"the result holds something that JSON cannot hold ({error}); use text, numbers, lists and mappings"),
        )
    else:  # type and text, also of an exception that has no printable one
        kind, text = FailureKind.INTERNAL, "".join(traceback.format_exception_only(error)).strip()
    # A lone surrogate (of a file name, say) is no UTF-8, and SQLite would refuse it.
    text = text.encode(errors="backslashreplace").decode()
    return Failure(kind, text if len(text) <= MESSAGE_LENGTH else f"{text[: MESSAGE_LENGTH - 3]}...")


def kinds_of(failed: Sequence[Trial | FinalistTraining]) -> str:
    """Return how often each kind of failure came, with the text of its last one; the kind of the last trial first."""
    last: dict[FailureKind, Failure] = {}
    for trial in reversed(failed):
        if trial.failure is not None:
            last.setdefault(trial.failure.kind, trial.failure)
    counts = Counter(trial.failure.kind for trial in failed if trial.failure is not None)
    return "; ".join(f"{counts[kind]} x {kind.value}: {failure.message}" for kind, failure in last.items())


def outcome_of(trial: Trial, trial_id: int) -> Outcome:
    """Return the outcome of a trial as that of another trial of the same network."""
    stopped = trial.state == "stopped"
    return Outcome(trial_id, trial.accuracy, trial.latency_ms, trial.reward, trial.failure, stopped)


def told_reward(outcome: Outcome) -> float | None:
    """Return what the controller is told of an outcome; None if it is told nothing.

    Of a training that was stopped it is told the reward of the last accuracy; of a network that is too slow to be
    trained what it is told of one that cannot be trained.
    """
    if outcome.failure is None:
        return FAILED_CANDIDATE_REWARD if outcome.reward is None else outcome.reward
    return FAILED_CANDIDATE_REWARD if outcome.failure.kind.blames_candidate else None
