"""What the controller has learnt: the shares of its choices over time, and which decisions matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mnas.search.store import Trial
from search_space import Decision

WINDOWS = 40
FOLDS = 5
# Fewer trials than this tell nothing of dozens of choices.
FEWEST_TRIALS = 20
_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_Floats = npt.NDArray[np.float64]


def choice_shares(trials: Sequence[Trial], decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return how often each choice was proposed, in up to `WINDOWS` equal groups of consecutive trials.

    Returns:
        `last_trial`: the number of the last trial of each group. `decisions`: for each decision its name, its choices
        as text, and `shares`, a list for each choice with its share in each group. `entropy`: for each group the mean
        over the decisions of the entropy of the shares, 1 if all choices are equally frequent and 0 if one is left.
    """
    fitting = [trial for trial in trials if len(trial.decisions) == len(decisions)]
    groups = [list(group) for group in np.array_split(np.arange(len(fitting)), min(WINDOWS, max(1, len(fitting) // 5)))]
    if not fitting:
        return {"last_trial": [], "decisions": [], "entropy": []}
    chosen = np.array([trial.decisions for trial in fitting])
    shown, entropies = [], []
    for number, decision in enumerate(decisions):
        counts = np.array(
            [np.bincount(chosen[group, number], minlength=len(decision.choices)) for group in groups], dtype=float
        )
        shares = counts / counts.sum(axis=1, keepdims=True)
        logarithms = np.log(np.where(shares > 0, shares, 1.0))
        entropies.append(-(shares * logarithms).sum(axis=1) / np.log(shares.shape[1]))
        shown.append(
            {
                "name": decision.name,
                "choices": [str(choice) for choice in decision.choices],
                "shares": [[round(float(share), 4) for share in column] for column in shares.T],
            }
        )
    return {
        "last_trial": [fitting[group[-1]].id for group in groups],
        "decisions": shown,
        "entropy": [round(float(value), 4) for value in np.mean(entropies, axis=0)],
    }


def importances(trials: Sequence[Trial], decisions: Sequence[Decision]) -> dict[str, Any] | None:
    """Return how much each decision matters for accuracy, log latency and reward.

    A ridge regression on the choices (one-hot) is fitted to the complete trials. The importance of a decision is the
    share of the variance of the predictions that its choices make. `held_out_r2` is that of predictions for trials that
    the fit has not seen (5 folds): near 1 the model explains what it has not seen, at 0 or below it explains nothing.

    Returns:
        By quantity: `held_out_r2`, and `shares`, one for each decision. None if there are too few trials.
    """
    known = [
        trial
        for trial in trials
        if trial.state == "complete" and trial.repeat_of is None and len(trial.decisions) == len(decisions)
    ]
    if len(known) < FEWEST_TRIALS:
        return None
    columns = _one_hot(np.array([trial.decisions for trial in known]), decisions)
    quantities: Mapping[str, list[float]] = {
        "accuracy": [trial.accuracy or 0.0 for trial in known],
        "latency": [float(np.log(trial.latency_ms or 1.0)) for trial in known],
        "reward": [trial.reward or 0.0 for trial in known],
    }
    return {
        "trials": len(known),
        "decisions": [decision.name for decision in decisions],
        "of": {name: _importance(columns, np.array(values), decisions) for name, values in quantities.items()},
    }


def _importance(columns: _Floats, values: _Floats, decisions: Sequence[Decision]) -> dict[str, Any]:
    if float(values.std()) == 0:
        return {"held_out_r2": None, "shares": [0.0] * len(decisions)}
    errors = _held_out_errors(columns, values)
    penalty = min(errors, key=lambda one: errors[one])
    ((weights, _),) = _fits(columns, values, [penalty])
    ends = np.cumsum([len(decision.choices) for decision in decisions])
    parts = np.split(columns * weights, ends[:-1], axis=1)
    variances = np.array([part.sum(axis=1).var() for part in parts])
    shares = variances / variances.sum() if variances.sum() > 0 else variances
    return {
        "held_out_r2": round(1 - errors[penalty] / float(values.var()), 4),
        "shares": [round(float(share), 4) for share in shares],
    }


def _held_out_errors(columns: _Floats, values: _Floats) -> dict[float, float]:
    """Return the mean squared error on trials that a fit has not seen, by penalty."""
    squares = dict.fromkeys(_PENALTIES, 0.0)
    for fold in range(FOLDS):
        held_out = np.arange(len(values)) % FOLDS == fold
        fits = _fits(columns[~held_out], values[~held_out], _PENALTIES)
        for penalty, (weights, mean) in zip(_PENALTIES, fits, strict=True):
            squares[penalty] += float(((columns[held_out] @ weights + mean - values[held_out]) ** 2).sum())
    return {penalty: total / len(values) for penalty, total in squares.items()}


def _fits(columns: _Floats, values: _Floats, penalties: Sequence[float]) -> list[tuple[_Floats, float]]:
    """Return the weights of the columns and the constant of a ridge regression, for each penalty."""
    means, mean = columns.mean(axis=0), float(values.mean())
    centred = columns - means
    gram, moments = centred.T @ centred, centred.T @ (values - mean)
    weights = [np.linalg.solve(gram + penalty * np.eye(columns.shape[1]), moments) for penalty in penalties]
    return [(one, mean - float(means @ one)) for one in weights]


def _one_hot(chosen: npt.NDArray[np.int_], decisions: Sequence[Decision]) -> _Floats:
    parts = [
        (chosen[:, number, None] == np.arange(len(decision.choices))).astype(np.float64)
        for number, decision in enumerate(decisions)
    ]
    return np.concatenate(parts, axis=1)
