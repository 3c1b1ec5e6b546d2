"""Random search: everything not seen before is equally likely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controllers.controller import Decisions, StateValue, check_count, check_results
from controllers.history import History, read_history
from controllers.state import check_identity, generator_entry, identity_entries, read_generator


@dataclass(frozen=True)
class RandomHyperparameters:
    """Random search has no hyper-parameters."""


class RandomSearch:
    """Draws proposals uniformly without replacement; rewards have no effect."""

    def __init__(self, decision_sizes: tuple[int, ...], seed: int, hyperparameters: RandomHyperparameters) -> None:
        self._sizes = decision_sizes
        self._identity = identity_entries("random", decision_sizes, asdict(hyperparameters))
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._history = History(decision_sizes)

    def ask(self, count: int) -> list[Decisions]:
        """Return up to `count` proposals, uniform among those neither proposed nor told before."""
        proposals = []
        for _ in range(min(check_count(count), self._history.unseen_count)):
            proposal = self._history.draw_unseen(self._generator)
            self._history.add(proposal)
            proposals.append(proposal)
        return proposals

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        """Record the proposals, so that they are not made again."""
        for decisions, _ in check_results(self._sizes, proposals, rewards):
            self._history.add(decisions)

    def state(self) -> dict[str, StateValue]:
        """Return the generator's state and the seen proposals."""
        return {
            **self._identity,
            "generator": generator_entry(self._generator),
            "seen": self._history.rows(),
        }

    def restore(self, state: dict[str, StateValue]) -> None:
        """Continue from `state`."""
        check_identity(state, self._identity)
        generator = read_generator(state, "generator")
        history = read_history(state, "seen", self._sizes)
        self._generator, self._history = generator, history
