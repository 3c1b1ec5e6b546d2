"""Draw proposals from a policy, with or without repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controllers.arrays import Floats
from controllers.controller import Decisions
from controllers.history import History
from controllers.policy.lstm import LstmPolicy

# Ranges of temperatures of the rounds that replace rejected samples; each round flattens the policy further.
_REDRAW_TEMPERATURES = ((1.0, 3.0), (3.0, 27.0))
_MIN_REDRAWS = 8


@dataclass(frozen=True)
class Sample:
    """A proposal and its log-probability when it was sampled."""

    decisions: Decisions
    log_probability: float


def sample(policy: LstmPolicy, temperatures: Floats, generator: np.random.Generator) -> list[Sample]:
    """Return one sample for each of `temperatures`, shape (samples,); see `LstmPolicy.sample`."""
    proposals, log_probabilities = policy.sample(temperatures, generator)
    return [
        Sample(tuple(decisions), log_probability)
        for decisions, log_probability in zip(proposals.tolist(), log_probabilities.tolist(), strict=True)
    ]


def sample_unseen(policy: LstmPolicy, count: int, history: History, generator: np.random.Generator) -> list[Sample]:
    """Return up to `count` samples that are not in the history, and add them to it.

    There are fewer once the space is used up. Samples seen before are rejected, and the policy is sampled again at
    rising temperatures: once it has converged, this explores the neighbourhood of its likeliest proposal. If that
    fails too, an unseen proposal is drawn uniformly.
    """
    count = min(count, history.unseen_count)
    accepted: list[Sample] = []
    for low, high in _REDRAW_TEMPERATURES:
        missing = count - len(accepted)
        if not missing:
            break
        # One pass also draws the replacements: a converged policy needs them at nearly every call.
        redraws = np.geomspace(low, high, max(missing, _MIN_REDRAWS))
        for candidate in sample(policy, np.concatenate([np.ones(missing), redraws]), generator):
            if len(accepted) < count and history.add(candidate.decisions):
                accepted.append(candidate)
    while len(accepted) < count:
        decisions = history.draw_unseen(generator)
        history.add(decisions)
        accepted.append(Sample(decisions, log_probability(policy, decisions)))
    return accepted


def log_probability(policy: LstmPolicy, decisions: Decisions) -> float:
    """Return the log-probability of one proposal under the policy."""
    trace = policy.forward(np.array([decisions]))
    return float((trace.chosen * trace.log_probabilities).sum())
