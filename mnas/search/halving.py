"""Children that cost less: trainings that are stopped early, and networks that are too slow to be trained.

The MnasNet paper has neither. The first is asynchronous successive halving by epochs (Li et al., "A system for
massively parallel hyperparameter tuning", MLSys 2020), in the stopping variant of Ray Tune and of Optuna's pruner: a
child is trained without a break, and stopped at a rung if it is behind. Here a child is compared with what the
controller had been told when it proposed the child. So a decision follows from the log of the controller's calls and
the stored trials alone: children exchange no messages, and a search that is resumed decides as one that was not
stopped.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnas.search.results import outcome_of
from mnas.search.schema import StoreError
from mnas.search.trial import ControllerCall, Outcome, Trial
from mnas.training.rungs import Rung, rung_results


@dataclass(frozen=True)
class Halving:
    """Successive halving by epochs.

    Attributes:
        rungs: The epochs after which children are compared, in order; less than `epochs`.
        reduction: One of so many children goes on at a rung.
        epochs: Epochs of a whole training.
    """

    rungs: tuple[int, ...]
    reduction: int
    epochs: int


def rung_epochs(first: int, reduction: int, epochs: int) -> tuple[int, ...]:
    """Return the epochs of the rungs: from the first on, each `reduction` times the one before.

    >>> rung_epochs(1, 3, 27), rung_epochs(1, 3, 6), rung_epochs(6, 3, 6)
    ((1, 3, 9), (1, 3), ())
    """
    found = []
    while first < epochs:
        found.append(first)
        first *= reduction
    return tuple(found)


@dataclass(frozen=True)
class _Demand:
    """What the results known at a proposal demand of its child.

    Attributes:
        least: For each rung the least value with which a child goes on; None lets every child go on.
        best: The highest reward of a complete trial; None before the first.
    """

    least: tuple[float | None, ...] = ()
    best: float | None = None


class EarlyStopping:
    """Decides which children are trained, and how far, from the calls of the controller in their order.

    At a rung a child is compared by its accuracy. If latencies are measured first, it is compared by the reward of that
    accuracy and its latency.
    """

    def __init__(
        self,
        halving: Halving | None,
        highest_accuracy: float | None,
        reward_factor: Callable[[Mapping[str, Any]], float],
    ) -> None:
        """Begin with no results.

        Args:
            halving: When children are stopped; None trains each to its end.
            highest_accuracy: A network is timed before it is trained, and is not trained if its reward would be below
                the best even with this accuracy. None trains and times at the same time.
            reward_factor: Returns the reward that an accuracy of 1 has with a measured latency.
        """
        self._halving = halving
        self._highest_accuracy = highest_accuracy
        self._reward_factor = reward_factor
        self._values: list[list[float]] = [] if halving is None else [[] for _ in halving.rungs]
        """For each rung what the children that have reached it had there, ascending."""
        self._best: float | None = None
        self._demands: dict[int, _Demand] = {}

    @property
    def is_off(self) -> bool:
        """Whether every child is trained to its end."""
        return self._halving is None and not self.times_first

    @property
    def times_first(self) -> bool:
        """Whether a network is timed before it is trained."""
        return self._highest_accuracy is not None

    def ask(self, trial_ids: Iterable[int]) -> None:
        """Note that trials are proposed now: what they are compared with does not change later."""
        if not self.is_off:
            demand = _Demand(tuple(self._least(values) for values in self._values), self._best)
            self._demands.update(dict.fromkeys(trial_ids, demand))

    def tell(self, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> None:
        """Learn how trials have ended, of which the controller is told now.

        Raises:
            ValueError: The record of a training has rungs that cannot be read.
        """
        for trial, outcome in zip(trials, outcomes, strict=True):
            self._demands.pop(trial.id, None)
            if outcome.failure is not None or trial.training is None or self.is_off:
                continue
            reached = {result.epoch: result.accuracy for result in rung_results(trial.training)}
            for epoch, values in zip(self._halving.rungs if self._halving else (), self._values, strict=True):
                if epoch in reached:
                    bisect.insort(values, reached[epoch] * self._factor(trial))
            if not outcome.stopped and outcome.reward is not None:
                self._best = outcome.reward if self._best is None else max(self._best, outcome.reward)

    def restore(self, log: Iterable[ControllerCall], trial: Callable[[int], Trial]) -> None:
        """Repeat the calls of earlier sessions.

        Args:
            log: Every ask and tell, in order.
            trial: Returns the trial of a number.

        Raises:
            StoreError: A record cannot be read.
        """
        for call in log:
            if call.rewards is None:
                self.ask(call.trial_ids)
                continue
            trials = [trial(trial_id) for trial_id in call.trial_ids]
            try:
                self.tell(trials, [outcome_of(each, each.id) for each in trials])
            except ValueError as error:
                raise StoreError(f"trials {call.trial_ids}: {error}; restore the run from a copy") from error

    def may_train(self, trial: Trial) -> bool:
        """Return whether the child of a trial can be trained by now, which a network that is too slow never can."""
        if self._highest_accuracy is None:
            return True
        if trial.latency is None:
            return False
        best = self._demands[trial.id].best
        return best is None or self._highest_accuracy * self._reward_factor(trial.latency) >= best

    def rungs(self, trial: Trial) -> tuple[Rung, ...]:
        """Return the rungs of a child that is to be trained; none if no child is stopped."""
        if self._halving is None:
            return ()
        factor = self._factor(trial)
        return tuple(
            Rung(epoch, None if least is None else least / factor)
            for epoch, least in zip(self._halving.rungs, self._demands[trial.id].least, strict=True)
        )

    def _factor(self, trial: Trial) -> float:
        """Return what an accuracy is multiplied by before it is compared."""
        return self._reward_factor(trial.latency) if self.times_first and trial.latency is not None else 1.0

    def _least(self, values: Sequence[float]) -> float | None:
        """Return the (n / reduction)-th best of n values, rounded down; None if there are fewer than `reduction`."""
        kept = len(values) // self._halving.reduction if self._halving else 0
        return values[-kept] if kept else None


def stopped_text(trial: Trial) -> str:
    """Return why the training of a trial was stopped, or not begun."""
    if trial.training is None:
        return "too slow to be trained: no accuracy would make its reward the best"
    reached = rung_results(trial.training)
    if not reached or reached[-1].least_accuracy is None:
        return "stopped early"
    last = reached[-1]
    return f"stopped after epoch {last.epoch}: accuracy {last.accuracy:.4f}, and {last.least_accuracy:.4f} was needed"


def epochs_trained(trial: Trial, epochs: int) -> int:
    """Return how many of `epochs` the training of a trial took."""
    reached = rung_results(trial.training) if trial.state == "stopped" and trial.training is not None else ()
    return reached[-1].epoch if reached else epochs
