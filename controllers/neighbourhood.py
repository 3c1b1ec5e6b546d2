"""Architectures that differ from a given one in exactly one decision."""

from __future__ import annotations

import numpy as np

from controllers.controller import Architecture


def neighbours(architecture: Architecture, decision_sizes: tuple[int, ...]) -> list[Architecture]:
    """Return all neighbours, in the order of decisions and choices."""
    return [
        (*architecture[:decision], choice, *architecture[decision + 1 :])
        for decision, size in enumerate(decision_sizes)
        for choice in range(size)
        if choice != architecture[decision]
    ]


def shuffled_neighbours(
    architecture: Architecture, decision_sizes: tuple[int, ...], generator: np.random.Generator
) -> list[Architecture]:
    """Return all neighbours in random order."""
    ordered = neighbours(architecture, decision_sizes)
    return [ordered[position] for position in generator.permutation(len(ordered))]


def mutate(architecture: Architecture, decision_sizes: tuple[int, ...], generator: np.random.Generator) -> Architecture:
    """Return a random neighbour: a decision with a choice is drawn, then another choice for it.

    Raises:
        ValueError: if no decision has a choice.
    """
    open_decisions = [decision for decision, size in enumerate(decision_sizes) if size > 1]
    if not open_decisions:
        raise ValueError("an architecture whose decisions have one choice each has no neighbours")
    decision = open_decisions[int(generator.integers(len(open_decisions)))]
    shift = int(generator.integers(1, decision_sizes[decision]))
    choice = (architecture[decision] + shift) % decision_sizes[decision]
    return (*architecture[:decision], choice, *architecture[decision + 1 :])
