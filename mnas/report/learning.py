"""What the controller has learnt: the shares of its choices over time, and which decisions matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    values = np.array(
        [(trial.accuracy or 0.0, np.log(trial.latency_ms or 1.0), trial.reward or 0.0) for trial in known]
    )
    weights, held_out_errors = _chosen_fits(columns, values)
    ends = np.cumsum([len(decision.choices) for decision in decisions])[:-1]
    of = {}
    for number, name in enumerate(("accuracy", "latency", "reward")):
        parts = np.split(columns * weights[:, number], ends, axis=1)
        of[name] = _importance(values[:, number], float(held_out_errors[number]), parts)
    return {"trials": len(known), "decisions": [decision.name for decision in decisions], "of": of}


def _importance(values: _Floats, held_out_error: float, parts: Sequence[_Floats]) -> dict[str, Any]:
    """Return what `importances` returns of one quantity; `parts` are what each decision adds to the predictions."""
    if values.min() == values.max():
        return {"held_out_r2": None, "shares": [0.0] * len(parts)}
    variances = np.array([part.sum(axis=1).var() for part in parts])
    return {
        "held_out_r2": round(1 - held_out_error / float(values.var()), 4),
        "shares": [round(float(variance), 4) for variance in variances / (variances.sum() or 1.0)],
    }


@dataclass(frozen=True)
class _Sums:
    """Sums over trials, of which a ridge regression of q values on p columns needs no more.

    Attributes:
        count: Number of trials.
        columns: Shape (p,).
        values: Shape (q,).
        squares: Of columns with columns, shape (p, p).
        products: Of columns with values, shape (p, q).
    """

    count: int
    columns: _Floats
    values: _Floats
    squares: _Floats
    products: _Floats

    @classmethod
    def of(cls, columns: _Floats, values: _Floats) -> _Sums:
        """Return the sums over trials, from the columns (trials, p) and the values (trials, q)."""
        return cls(len(columns), columns.sum(axis=0), values.sum(axis=0), columns.T @ columns, columns.T @ values)

    def without(self, part: _Sums) -> _Sums:
        """Return the sums over the trials that are not in `part`."""
        return _Sums(
            self.count - part.count,
            self.columns - part.columns,
            self.values - part.values,
            self.squares - part.squares,
            self.products - part.products,
        )

    def fit(self, penalty: float) -> tuple[_Floats, _Floats]:
        """Return the weights, shape (p, q), and the constants, shape (q,), of a ridge regression."""
        column_means, value_means = self.columns / self.count, self.values / self.count
        squares = self.squares - self.count * np.outer(column_means, column_means)
        products = self.products - self.count * np.outer(column_means, value_means)
        weights: _Floats = np.linalg.solve(squares + penalty * np.eye(len(squares)), products)
        return weights, value_means - column_means @ weights


def _chosen_fits(columns: _Floats, values: _Floats) -> tuple[_Floats, _Floats]:
    """Return the weights of each value with the penalty of the least error on trials that a fit has not seen.

    Returns:
        The weights, shape (p, q), and these mean squared errors, shape (q,).
    """
    folds = [np.arange(len(values)) % FOLDS == fold for fold in range(FOLDS)]
    parts = [_Sums.of(columns[fold], values[fold]) for fold in folds]
    whole = _Sums.of(columns, values)
    errors = np.zeros((len(_PENALTIES), values.shape[1]))
    for fold, part in zip(folds, parts, strict=True):
        seen = whole.without(part)
        for row, penalty in enumerate(_PENALTIES):
            weights, constants = seen.fit(penalty)
            errors[row] += ((columns[fold] @ weights + constants - values[fold]) ** 2).sum(axis=0)
    best = errors.argmin(axis=0)
    fits = [whole.fit(penalty)[0] for penalty in _PENALTIES]
    weights = np.stack([fits[row][:, number] for number, row in enumerate(best)], axis=1)
    return weights, errors.min(axis=0) / len(values)


def _one_hot(chosen: npt.NDArray[np.int_], decisions: Sequence[Decision]) -> _Floats:
    parts = [
        (chosen[:, number, None] == np.arange(len(decision.choices))).astype(np.float64)
        for number, decision in enumerate(decisions)
    ]
    return np.concatenate(parts, axis=1)
