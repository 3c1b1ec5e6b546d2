"""Regularized evolution: mutate the best of a sample of the population and remove the oldest member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controllers.controller import Decisions, StateValue, check_count, check_results
from controllers.history import History, read_history
from controllers.hyperparameters import integer
from controllers.neighbourhood import mutate
from controllers.results import Result, read_results, results_entries
from controllers.state import check_identity, generator_entry, identity_entries, read_generator

_MAX_MUTATIONS = 100
"""Attempts to find an unseen child; after that, an unseen proposal is drawn uniformly."""


@dataclass(frozen=True)
class EvolutionHyperparameters:
    """Hyper-parameters of regularized evolution."""

    population_size: int = integer(
        50, "number of results that can become parents: the latest ones told", low=1, high=100_000
    )
    sample_size: int = integer(
        25, "members drawn with replacement, of which the best becomes the parent", low=1, high=100_000
    )


class RegularizedEvolution:
    """Aging evolution (Real et al., 2019, algorithm 1), without repeats.

    The first `population_size` proposals are random. After that, each proposal is a child: the best of a random
    sample of the population with one decision changed. If a child was proposed or told before, parent and child
    are drawn again. The population is the latest `population_size` results in the order in which they were told,
    so no proposal waits for pending results.
    """

    def __init__(self, decision_sizes: tuple[int, ...], seed: int, hyperparameters: EvolutionHyperparameters) -> None:
        self._sizes = decision_sizes
        self._hyperparameters = hyperparameters
        self._identity = identity_entries("regularized_evolution", decision_sizes, asdict(hyperparameters))
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._history = History(decision_sizes)
        self._population: list[Result] = []
        """Oldest first."""

    def ask(self, count: int) -> list[Decisions]:
        """Return random proposals at first, then children; fewer once the space is used up."""
        proposals = []
        for _ in range(min(check_count(count), self._history.unseen_count)):
            proposal = self._unseen_child() or self._history.draw_unseen(self._generator)
            self._history.add(proposal)
            proposals.append(proposal)
        return proposals

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        """Add the results to the population; the oldest members leave it."""
        for decisions, reward in check_results(self._sizes, proposals, rewards):
            self._history.add(decisions)
            self._population.append(Result(decisions, reward))
        del self._population[: -self._hyperparameters.population_size]

    def _unseen_child(self) -> Decisions | None:
        if not self._population or len(self._history) < self._hyperparameters.population_size:
            return None
        for _ in range(_MAX_MUTATIONS):
            sample = self._generator.integers(len(self._population), size=self._hyperparameters.sample_size)
            parent = max((self._population[position] for position in sample), key=lambda member: member.reward)
            child = mutate(parent.decisions, self._sizes, self._generator)
            if child not in self._history:
                return child
        return None

    def state(self) -> dict[str, StateValue]:
        """Return the generator's state, the population and the seen proposals."""
        return {
            **self._identity,
            "generator": generator_entry(self._generator),
            "seen": self._history.rows(),
            **results_entries("population", self._sizes, self._population),
        }

    def restore(self, state: dict[str, StateValue]) -> None:
        """Continue from `state`."""
        check_identity(state, self._identity)
        generator = read_generator(state, "generator")
        history = read_history(state, "seen", self._sizes)
        population = read_results(state, "population", self._sizes)
        self._generator, self._history, self._population = generator, history, population
