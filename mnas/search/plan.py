"""What a search does: how many trials, how they are scheduled, and how they are rewarded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from mnas.experiment import Experiment, RepeatSettings
from mnas.reward import RewardSettings, reward
from mnas.search.halving import Halving, rung_epochs
from mnas.search.requests import Budget
from mnas.search.results import deciding_latency, failure_of
from mnas.search.trial import Outcome, Trial
from mnas.training.rungs import rung_results

# So many children may be ahead of a phone that rests, say; then the workers wait for it.
AUTO_PENDING_PER_WORKER = 4


@dataclass(frozen=True)
class SearchPlan:
    """What a search does: how many trials, how they are scheduled and how they are rewarded.

    Attributes:
        trials: Proposals in all.
        workers: Children that train at a time, unless the search is told otherwise while it runs.
        target_ms: The target latency on the phone that the experiment names, in milliseconds.
        reward: The exponents of the reward.
        others_target_ms: The target latencies of further phones by name. The phone with the largest LAT / T of all
            decides the reward.
        schedule: `synchronous` proposes `batch_size` children, waits for all and tells them in order of their numbers,
            as the paper does. `asynchronous` proposes whenever a worker is free.
        batch_size: Children of a synchronous batch.
        seed: The seed that the seeds of the children follow from.
        max_pending: Trials that may be pending at a time, those that wait for a latency included; `auto` is four for
            each worker. A synchronous batch is pending whole.
        max_consecutive_failures: The search stops after this many failures in a row, whatever failed. Repeats of an
            earlier network do not count.
        budget: What the search may spend.
        halving: When the trainings of children are stopped early; None trains each to its end.
        highest_accuracy: Each network is timed before it is trained, and not trained if its reward would be below the
            best so far even with this accuracy. None trains and times at the same time.
        second_share: The part of the networks that is trained a second time, by the numbers of the trials.
        trains_repeats: Whether a network that is proposed again is trained and timed again.
    """

    trials: int
    workers: int
    target_ms: float
    reward: RewardSettings
    others_target_ms: Mapping[str, float] = field(default_factory=dict)
    schedule: Literal["asynchronous", "synchronous"] = "asynchronous"
    batch_size: int = 1
    seed: int = 0
    max_pending: int | Literal["auto"] = "auto"
    max_consecutive_failures: int = 10
    budget: Budget = field(default_factory=Budget)
    halving: Halving | None = None
    highest_accuracy: float | None = None
    second_share: float = 0.0
    trains_repeats: bool = False

    def takes_over(self, trial: Trial) -> bool:
        """Return whether a trial has, or will have, the outcome of the earlier one of its network."""
        copies = trial.state != "proposed" or not self.trains_repeats
        return trial.repeat_of is not None and trial.training is None and copies

    def trains_twice(self, trial: Trial) -> bool:
        """Return whether the network of a trial is trained a second time."""
        share = self.second_share
        return trial.repeat_of is None and math.floor(trial.id * share) > math.floor((trial.id - 1) * share)

    def pending_bound(self, workers: int) -> int:
        """Return how many trials may be pending at a time with this number of workers."""
        return AUTO_PENDING_PER_WORKER * workers if self.max_pending == "auto" else self.max_pending

    def training_bound(self, workers: int) -> int:
        """Return how many trials may train or wait to be trained; those that are timed first are proposed ahead."""
        return workers if self.highest_accuracy is None else 2 * workers

    def reward_factor(self, latency: Mapping[str, Any]) -> float:
        """Return the reward that an accuracy of 1 has with a measured latency; infinite if it cannot be computed."""
        try:
            return reward(1.0, *deciding_latency(latency, self.target_ms, self.others_target_ms), self.reward)
        except (ValueError, ArithmeticError):  # `outcome` makes a failure of it
            return math.inf

    def outcome(self, number: int, training: Mapping[str, Any] | None, latency: Mapping[str, Any] | None) -> Outcome:
        """Return how a trial, or the training of a finalist, ended whose halves have not failed."""
        if latency is None or (training is None and self.highest_accuracy is None):
            raise AssertionError(f"{number} ended with a half missing and no failure")
        latency_ms = float(latency["latency_ms"])
        if training is None:
            return Outcome(number, latency_ms=latency_ms, stopped=True)
        accuracy = float(training["accuracy"])
        stopped = self.halving is not None and bool(training.get("stopped"))
        try:
            rung_results(training if self.halving else {})
            deciding = deciding_latency(latency, self.target_ms, self.others_target_ms)
            value = reward(accuracy, *deciding, self.reward)
        except (ValueError, ArithmeticError) as error:
            return Outcome(number, failure=failure_of(error))
        return Outcome(number, accuracy=accuracy, latency_ms=latency_ms, reward=value, stopped=stopped)


def search_plan(experiment: Experiment, workers: int) -> SearchPlan:
    """Return what the search of an experiment does with this many workers."""
    search, epochs = experiment.search, experiment.training.epochs
    repeats = search.repeats or RepeatSettings()
    halving = None
    if (chosen := search.halving) is not None:
        halving = Halving(rung_epochs(chosen.first_epochs, chosen.reduction, epochs), chosen.reduction, epochs)
    return SearchPlan(
        trials=search.trials,
        workers=workers,
        target_ms=experiment.latency.target_ms,
        others_target_ms=experiment.latency.rewarded_others(),
        reward=experiment.reward,
        schedule=search.schedule,
        batch_size=search.batch_size,
        seed=experiment.seed,
        max_pending=search.max_pending,
        max_consecutive_failures=search.max_consecutive_failures,
        budget=Budget(**msgspec.structs.asdict(search.budget)),
        halving=halving,
        highest_accuracy=None if search.latency_first is None else search.latency_first.highest_accuracy,
        second_share=repeats.share,
        trains_repeats=repeats.proposed_again == "train",
    )
