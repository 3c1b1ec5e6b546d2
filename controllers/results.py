"""Told proposals that a strategy remembers, and their place in a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from controllers.controller import Decisions, StateValue
from controllers.state import decisions_entry, read_decisions, read_floats


@dataclass(frozen=True)
class Result:
    """A proposal and its reward."""

    decisions: Decisions
    reward: float


def results_entries(key: str, decision_sizes: tuple[int, ...], results: Sequence[Result]) -> dict[str, StateValue]:
    """Return the entries `key`, of shape (results, decisions), and `key`_rewards, of shape (results,)."""
    return {
        key: decisions_entry(decision_sizes, [result.decisions for result in results]),
        f"{key}_rewards": np.array([result.reward for result in results], dtype=np.float64),
    }


def read_results(state: Mapping[str, StateValue], key: str, decision_sizes: tuple[int, ...]) -> list[Result]:
    """Return the results that `results_entries` stored.

    Raises:
        ControllerError: An entry is missing or damaged.
    """
    proposals = read_decisions(state, key, decision_sizes)
    rewards = read_floats(state, f"{key}_rewards", len(proposals))
    return [Result(*pair) for pair in zip(proposals, rewards.tolist(), strict=True)]
