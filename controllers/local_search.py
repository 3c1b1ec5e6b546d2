"""Local search: climb from neighbour to better neighbour; at a local optimum, start again elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controllers.controller import ControllerError, Decisions, StateValue, check_count, check_results
from controllers.history import History, read_history
from controllers.hyperparameters import choice
from controllers.neighbourhood import shuffled_neighbours
from controllers.results import Result, read_results, results_entries
from controllers.state import (
    check_identity,
    decisions_entry,
    generator_entry,
    identity_entries,
    read_decisions,
    read_generator,
)


@dataclass(frozen=True)
class LocalSearchHyperparameters:
    """Hyper-parameters of local search."""

    improvement: str = choice(
        "first",
        "climb to the first better neighbour, or to the best one once all of them are proposed",
        options=("first", "best"),
    )


class LocalSearch:
    """Local search with random restarts (White et al., 2021, section 4).

    The incumbent is what the search climbs from. Its neighbours are proposed in random order, without those
    proposed or told before. A better one replaces the incumbent. If there is none, the incumbent is a local
    optimum, and a proposal drawn uniformly from the unseen ones starts the next climb.

    No proposal waits for pending results: once all neighbours are proposed, the search continues with what has
    been told. A neighbour that is told late still replaces the incumbent if it is better than both the incumbent
    that it belongs to and the present one.
    """

    def __init__(self, decision_sizes: tuple[int, ...], seed: int, hyperparameters: LocalSearchHyperparameters) -> None:
        self._sizes = decision_sizes
        self._hyperparameters = hyperparameters
        self._identity = identity_entries("local_search", decision_sizes, asdict(hyperparameters))
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._history = History(decision_sizes)
        self._incumbent: Result | None = None
        """None before the first result of a climb."""
        self._challenger: Result | None = None
        """The best result that beats the incumbent and will replace it."""
        self._neighbours: list[Decisions] = []
        """Neighbours of the incumbent that are not yet proposed; the last one is proposed next."""
        self._floors: dict[Decisions, float] = {}
        """For each pending neighbour, the reward of the incumbent that it belongs to."""

    def ask(self, count: int) -> list[Decisions]:
        """Return neighbours of the incumbent or starts of climbs; fewer once the space is used up."""
        return [self._propose() for _ in range(min(check_count(count), self._history.unseen_count))]

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        """Keep the best result that beats the incumbent."""
        for decisions, reward in check_results(self._sizes, proposals, rewards):
            self._history.add(decisions)
            to_beat = [result.reward for result in (self._incumbent, self._challenger) if result]
            if reward > max([self._floors.pop(decisions, -math.inf), *to_beat]):
                self._challenger = Result(decisions, reward)

    def _propose(self) -> Decisions:
        while True:
            if self._challenger and (self._hyperparameters.improvement == "first" or not self._neighbours):
                self._incumbent, self._challenger = self._challenger, None
                self._neighbours = shuffled_neighbours(self._incumbent.decisions, self._sizes, self._generator)
            if not self._incumbent or not self._neighbours:
                self._incumbent = None
                start = self._history.draw_unseen(self._generator)
                self._history.add(start)
                return start
            neighbour = self._neighbours.pop()
            if self._history.add(neighbour):
                self._floors[neighbour] = self._incumbent.reward
                return neighbour

    def state(self) -> dict[str, StateValue]:
        """Return the generator's state, the climb, the pending and the seen proposals."""
        return {
            **self._identity,
            "generator": generator_entry(self._generator),
            "seen": self._history.rows(),
            **results_entries("incumbent", self._sizes, [self._incumbent] if self._incumbent else []),
            **results_entries("challenger", self._sizes, [self._challenger] if self._challenger else []),
            "neighbours": decisions_entry(self._sizes, self._neighbours),
            **results_entries("outstanding", self._sizes, [Result(*pair) for pair in self._floors.items()]),
        }

    def restore(self, state: dict[str, StateValue]) -> None:
        """Continue from `state`."""
        check_identity(state, self._identity)
        generator = read_generator(state, "generator")
        history = read_history(state, "seen", self._sizes)
        incumbent = _read_optional_result(state, "incumbent", self._sizes)
        challenger = _read_optional_result(state, "challenger", self._sizes)
        neighbours = read_decisions(state, "neighbours", self._sizes)
        pending = read_results(state, "outstanding", self._sizes)
        self._generator, self._history = generator, history
        self._incumbent, self._challenger, self._neighbours = incumbent, challenger, neighbours
        self._floors = {result.decisions: result.reward for result in pending}


def _read_optional_result(state: dict[str, StateValue], key: str, sizes: tuple[int, ...]) -> Result | None:
    results = read_results(state, key, sizes)
    if len(results) > 1:
        raise ControllerError(f"state value {key!r} holds {len(results)} proposals; expected one or none")
    return results[0] if results else None
