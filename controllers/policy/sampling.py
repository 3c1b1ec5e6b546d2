"""Samples of a policy, with or without repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controllers.arrays import Floats
from controllers.controller import Architecture
from controllers.history import History
from controllers.policy.lstm import LstmPolicy

# Rounds of replacements for samples that are rejected; each round flattens the policy further.
_REDRAW_TEMPERATURES = ((1.0, 3.0), (3.0, 27.0))
_MIN_REDRAWS = 8


@dataclass(frozen=True)
class Sample:
    """An architecture and its log-probability when it was sampled."""

    architecture: Architecture
    log_probability: float


def sample(policy: LstmPolicy, temperatures: Floats, generator: np.random.Generator) -> list[Sample]:
    """Return one sample for each temperature, shape (samples,); see `LstmPolicy.sample`."""
    architectures, log_probabilities = policy.sample(temperatures, generator)
    return [
        Sample(tuple(architecture), log_probability)
        for architecture, log_probability in zip(architectures.tolist(), log_probabilities.tolist(), strict=True)
    ]


def sample_unseen(policy: LstmPolicy, count: int, history: History, generator: np.random.Generator) -> list[Sample]:
    """Return up to `count` samples that are not in the history, and add them to it; fewer once the space is used up.

    Samples seen before are rejected, and the policy is sampled again at rising temperatures: once it has
    converged, this explores the neighbourhood of its favourite. Should that fail too, an unseen architecture
    is drawn uniformly.
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
            if len(accepted) < count and history.add(candidate.architecture):
                accepted.append(candidate)
    while len(accepted) < count:
        architecture = history.draw_unseen(generator)
        history.add(architecture)
        accepted.append(Sample(architecture, log_probability(policy, architecture)))
    return accepted


def log_probability(policy: LstmPolicy, architecture: Architecture) -> float:
    """Return an architecture's log-probability under the policy."""
    trace = policy.forward(np.array([architecture]))
    return float((trace.chosen * trace.log_probabilities).sum())
