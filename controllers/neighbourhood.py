"""Neighbours: decisions that differ from given ones in exactly one place."""

from __future__ import annotations

import numpy as np

from controllers.controller import Decisions


def neighbours(decisions: Decisions, decision_sizes: tuple[int, ...]) -> list[Decisions]:
    """Return all neighbours, in the order of decisions and choices."""
    return [
        (*decisions[:position], choice, *decisions[position + 1 :])
        for position, size in enumerate(decision_sizes)
        for choice in range(size)
        if choice != decisions[position]
    ]


def shuffled_neighbours(
    decisions: Decisions, decision_sizes: tuple[int, ...], generator: np.random.Generator
) -> list[Decisions]:
    """Return all neighbours in random order."""
    ordered = neighbours(decisions, decision_sizes)
    return [ordered[position] for position in generator.permutation(len(ordered))]


def mutate(decisions: Decisions, decision_sizes: tuple[int, ...], generator: np.random.Generator) -> Decisions:
    """Return a random neighbour: draw a decision that has a choice, then another choice for it.

    Raises:
        ValueError: No decision has more than one choice.
    """
    open_positions = [position for position, size in enumerate(decision_sizes) if size > 1]
    if not open_positions:
        raise ValueError("decisions that all have one choice have no neighbours")
    position = open_positions[int(generator.integers(len(open_positions)))]
    shift = int(generator.integers(1, decision_sizes[position]))
    choice = (decisions[position] + shift) % decision_sizes[position]
    return (*decisions[:position], choice, *decisions[position + 1 :])
