"""The climb of `ppo`: the results since the last restart, and the neighbour that is most worth evaluating."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from controllers.controller import Decisions, StateValue
from controllers.history import History
from controllers.neighbourhood import neighbours
from controllers.normal_scores import normal_scores
from controllers.results import Result, read_results, results_entries
from controllers.surrogate import Surrogate, expected_improvement

MEMORY_SIZE = 100
"""Number of the best and number of the latest results that are kept: a bound on the surrogate's cost."""
_MIN_RESULTS = 10
"""The surrogate is not fitted to fewer results."""

_CONVERGED_SHARE = 0.9
"""Share of the best proposal's neighbours that must be told; all are proposed, but some results may never come."""


class Climb:
    """A climb from neighbour to neighbour, steered by a surrogate of the rewards.

    Attributes:
        best: The best results, best first, each proposal once. Of equal results the earlier one comes first.
        latest: The latest results, oldest first.
    """

    def __init__(self, decision_sizes: tuple[int, ...]) -> None:
        self._sizes = decision_sizes
        self.best: list[Result] = []
        self.latest: list[Result] = []

    def add(self, result: Result) -> None:
        """Add a result to the best and the latest ones."""
        self.latest = [*self.latest, result][-MEMORY_SIZE:]
        members = [result]
        for other in self.best:
            if other.decisions != result.decisions:
                members.append(other)
            elif other.reward >= result.reward:
                return
        members.sort(key=lambda member: (-member.reward, member is result))
        self.best = members[:MEMORY_SIZE]

    def propose(self, history: History, pending: Collection[Decisions]) -> tuple[Decisions | None, bool]:
        """Return the most promising neighbour of the best proposal.

        The best proposal is the one with the highest smoothed score, so that one lucky evaluation does not hold
        the climb. Of its neighbours that have been neither proposed nor told, the one with the highest expected
        improvement over it is returned (Jones et al., 1998, equation 15). If none is left, but too few have been
        told, the next best proposal is used instead: no proposal waits for results.

        Pending proposals count as if their results were what the surrogate predicts (the kriging believer of
        Ginsbourger et al., 2010). So with many workers the climb does not only try the neighbours of what is
        known, it also takes the steps after the next one.

        Args:
            history: Everything proposed or told.
            pending: What was proposed and is not yet told.

        Returns:
            The neighbour, or None if there are too few results or the climb has converged; and whether the climb
            has converged.
        """
        if len(self.latest) < _MIN_RESULTS:
            return None, False
        results = list(dict.fromkeys(self.best + self.latest))
        scores = normal_scores(np.array([result.reward for result in results]))
        known = [result.decisions for result in results]
        surrogate = Surrogate(np.array(known), scores)
        believed = list(pending)[-MEMORY_SIZE:]
        if believed:
            means, _ = surrogate.predict(np.array(believed))
            known += believed
            surrogate = Surrogate(np.array(known), np.concatenate([scores, means]))
        for rank, position in enumerate(np.argsort(-surrogate.known_means, kind="stable").tolist()):
            around = neighbours(known[position], self._sizes)
            unseen = [neighbour for neighbour in around if neighbour not in history]
            if unseen:
                means, deviations = surrogate.predict(np.array(unseen))
                promise = expected_improvement(means - surrogate.known_means.max(), deviations)
                return unseen[int(promise.argmax())], False
            told = sum(neighbour not in pending for neighbour in around)
            is_told = position < len(results)  # Pending proposals follow the results.
            if rank == 0 and is_told and told >= _CONVERGED_SHARE * len(around):
                return None, True
        return None, False

    def entries(self) -> dict[str, StateValue]:
        """Return the climb's part of a state."""
        return {
            **results_entries("best", self._sizes, self.best),
            **results_entries("latest", self._sizes, self.latest),
        }


def read_climb(state: Mapping[str, StateValue], decision_sizes: tuple[int, ...]) -> Climb:
    """Return the climb whose `entries` are in the state.

    Raises:
        ControllerError: They are missing or damaged.
    """
    climb = Climb(decision_sizes)
    climb.best = read_results(state, "best", decision_sizes)
    climb.latest = read_results(state, "latest", decision_sizes)
    return climb
