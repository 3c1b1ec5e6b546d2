"""Local search: climb from neighbour to better neighbour until there is none, then start again elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controllers.controller import Architecture, ControllerError, State, check_count, check_results
from controllers.history import History, read_history
from controllers.hyperparameters import choice
from controllers.neighbourhood import shuffled_neighbours
from controllers.results import Result, read_results, results_entries
from controllers.state import (
    architectures_entry,
    check_identity,
    generator_entry,
    identity_entries,
    read_architectures,
    read_generator,
)


@dataclass(frozen=True)
class LocalSearchHyperparameters:
    """Hyper-parameters of local search."""

    improvement: str = choice(
        "first",
        "climb to the first better neighbour, or to the best one when all of them are proposed",
        options=("first", "best"),
    )


class LocalSearch:
    """Local search with random restarts (White et al., 2021, section 4).

    The neighbours of the incumbent are proposed in random order, but for those proposed or told before. A
    better one takes the incumbent's place. When there is none, the incumbent is a local optimum, and an unseen
    architecture drawn uniformly starts the next climb.

    No proposal waits for results that are out: once all neighbours are proposed, the search goes on with what
    has been told. A late neighbour that is better than the incumbent it belongs to, and than the present one,
    is climbed to all the same.
    """

    def __init__(self, decision_sizes: tuple[int, ...], seed: int, hyperparameters: LocalSearchHyperparameters) -> None:
        self._sizes = decision_sizes
        self._hyperparameters = hyperparameters
        self._identity = identity_entries("local_search", decision_sizes, asdict(hyperparameters))
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._history = History(decision_sizes)
        self._incumbent: Result | None = None
        """What is climbed from; none before the first result of a climb."""
        self._challenger: Result | None = None
        """The best result that beats the incumbent and shall take its place."""
        self._neighbours: list[Architecture] = []
        """Of the incumbent, not yet proposed; the next one is the last."""
        self._floors: dict[Architecture, float] = {}
        """For neighbours that are out, the reward of the incumbent that they belong to."""

    def ask(self, count: int) -> list[Architecture]:
        """Return neighbours of the incumbent, or starts of a climb; fewer once the space is used up."""
        return [self._propose() for _ in range(min(check_count(count), self._history.unseen_count))]

    def tell(self, architectures: Sequence[Architecture], rewards: Sequence[float]) -> None:
        """Keep the best result that beats the incumbent."""
        for architecture, reward in check_results(self._sizes, architectures, rewards):
            self._history.add(architecture)
            rivals = [rival.reward for rival in (self._incumbent, self._challenger) if rival]
            if reward > max([self._floors.pop(architecture, -math.inf), *rivals]):
                self._challenger = Result(architecture, reward)

    def _propose(self) -> Architecture:
        while True:
            if self._challenger and (self._hyperparameters.improvement == "first" or not self._neighbours):
                self._incumbent, self._challenger = self._challenger, None
                self._neighbours = shuffled_neighbours(self._incumbent.architecture, self._sizes, self._generator)
            if not self._incumbent or not self._neighbours:
                self._incumbent = None
                start = self._history.draw_unseen(self._generator)
                self._history.add(start)
                return start
            neighbour = self._neighbours.pop()
            if self._history.add(neighbour):
                self._floors[neighbour] = self._incumbent.reward
                return neighbour

    def state(self) -> dict[str, State]:
        """Return the generator's state, the climb, the proposals out and the architectures seen."""
        return {
            **self._identity,
            "generator": generator_entry(self._generator),
            "seen": self._history.rows(),
            **results_entries("incumbent", self._sizes, [self._incumbent] if self._incumbent else []),
            **results_entries("challenger", self._sizes, [self._challenger] if self._challenger else []),
            "neighbours": architectures_entry(self._sizes, self._neighbours),
            **results_entries("outstanding", self._sizes, [Result(*pair) for pair in self._floors.items()]),
        }

    def restore(self, state: dict[str, State]) -> None:
        """Continue from `state`."""
        check_identity(state, self._identity)
        generator = read_generator(state, "generator")
        history = read_history(state, "seen", self._sizes)
        incumbent = _read_optional_result(state, "incumbent", self._sizes)
        challenger = _read_optional_result(state, "challenger", self._sizes)
        neighbours = read_architectures(state, "neighbours", self._sizes)
        outstanding = read_results(state, "outstanding", self._sizes)
        self._generator, self._history = generator, history
        self._incumbent, self._challenger, self._neighbours = incumbent, challenger, neighbours
        self._floors = {result.architecture: result.reward for result in outstanding}


def _read_optional_result(state: dict[str, State], key: str, sizes: tuple[int, ...]) -> Result | None:
    results = read_results(state, key, sizes)
    if len(results) > 1:
        raise ControllerError(f"state value {key!r} holds {len(results)} architectures; expected one or none")
    return results[0] if results else None
