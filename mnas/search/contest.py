"""The finalists of a search: what their fresh trainings say, and which of them is trained next.

Everything follows from what is stored, so a resumed search decides as the one that was stopped. The method is that of
`mnas.search.finalists`. A finalist whose training fails through its own fault is out; a failure that is no network's
fault counts as one of the trainings, and says nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mnas.experiment import FinalistSettings
from mnas.search.finalists import Posterior, Standing
from mnas.search.trial import FinalistTraining, Trial

_SEED = 0  # of the draws: the same trainings give the same decisions


@dataclass(frozen=True)
class Finalist:
    """A finalist with the fresh trainings that have ended with a reward.

    Attributes:
        trial: The trial of the search; its own accuracy, latency and reward are not among the fresh ones.
        standing: What the fresh rewards say of it, compared with the other finalists.
        accuracy: Mean accuracy of the fresh trainings.
        latency_ms: Mean latency of the fresh measurements, in milliseconds.
    """

    trial: Trial
    standing: Standing
    accuracy: float
    latency_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return what the fresh trainings say, as JSON has it: `reward` is their mean, the interval holds 95%."""
        return {
            "trainings": self.standing.trainings,
            "accuracy": self.accuracy,
            "latency_ms": self.latency_ms,
            "reward": self.standing.mean,
            "reward_estimate": self.standing.estimate,
            "reward_interval": [self.standing.low, self.standing.high],
            "probability_best": self.standing.probability_best,
        }


@dataclass(frozen=True)
class Contest:
    """The finalists of a search and their fresh trainings.

    Attributes:
        finalists: The trials of highest reward, the best first, without repeats.
        trainings: The fresh trainings, by number; those of other trials are ignored.
        settings: How many finalists there are, and when the contest ends.
    """

    finalists: Sequence[Trial]
    trainings: Sequence[FinalistTraining]
    settings: FinalistSettings

    @cached_property
    def _contenders(self) -> list[Trial]:
        out = {one.trial for one in self.trainings if one.failure is not None and one.failure.kind.blames_candidate}
        return [trial for trial in self.finalists if trial.id not in out]

    def _complete(self, trial: Trial) -> list[FinalistTraining]:
        return [one for one in self.trainings if one.trial == trial.id and one.state == "complete"]

    @cached_property
    def _rewards(self) -> list[list[float]]:
        return [[one.reward for one in self._complete(trial) if one.reward is not None] for trial in self._contenders]

    @cached_property
    def _posterior(self) -> Posterior:
        return Posterior(self._rewards, _SEED)

    @cached_property
    def _standings(self) -> list[Standing]:
        return self._posterior.standings()

    @property
    def pending(self) -> list[FinalistTraining]:
        """Trainings that have not ended."""
        return [one for one in self.trainings if one.state == "proposed"]

    @property
    def used(self) -> int:
        """Trainings of the finalists so far, failed and pending ones included."""
        finalists = {trial.id for trial in self.finalists}
        return sum(one.trial in finalists for one in self.trainings)

    @property
    def is_decided(self) -> bool:
        """Whether every finalist that is not out has a fresh reward, so that there is a winner."""
        return bool(self._rewards) and all(self._rewards)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        if self.pending:
            return False
        return self.used >= self.settings.extra_trainings or not self._contenders or self._is_confident

    @property
    def _is_confident(self) -> bool:
        best = max((one.probability_best for one in self._standings), default=0.0) if self.is_decided else 0.0
        return best >= self.settings.confidence

    def next_trainings(self, room: int) -> list[Trial]:
        """Return the finalists to train next, at most `room`; a finalist may be among them more than once."""
        count = min(room, self.settings.extra_trainings - self.used)
        if self._is_confident or not self._contenders:
            return []
        waiting = [one.trial for one in self.pending]
        pending = [waiting.count(trial.id) for trial in self._contenders]
        chosen: list[Trial] = []
        while len(chosen) < count:
            untrained = [n for n, own in enumerate(self._rewards) if not own and not pending[n]]
            if untrained:
                number = untrained[0]
            elif any(self._rewards):
                number = self._posterior.next_training(pending)
            else:  # the first reward is still to come
                break
            pending[number] += 1
            chosen.append(self._contenders[number])
        return chosen

    def standings(self) -> list[Finalist]:
        """Return the finalists that are not out, the likely best first; none before each has a fresh reward."""
        if not self.is_decided:
            return []
        found = []
        for trial, standing in zip(self._contenders, self._standings, strict=True):
            fresh = self._complete(trial)
            accuracy = statistics.fmean(one.accuracy for one in fresh if one.accuracy is not None)
            latency_ms = statistics.fmean(one.latency_ms for one in fresh if one.latency_ms is not None)
            found.append(Finalist(trial, standing, accuracy, latency_ms))
        return sorted(found, key=lambda one: (-one.standing.probability_best, -one.standing.estimate, one.trial.id))
