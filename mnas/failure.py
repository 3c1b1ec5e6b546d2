"""Why a trial can fail, and whose fault that is.

A candidate's failure says something about the network: the controller is told the reward 0, since a network that cannot
be trained or run classifies nothing. Any other failure says nothing about the network: the work is retried, and if that
does not help the trial ends as failed and the controller is told nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FAILED_CANDIDATE_REWARD = 0.0


class FailureKind(Enum):
    """What went wrong; the value is what the store and the JSON output hold."""

    EXPORT = "export"
    TRAINING_DIVERGED = "training_diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CHILD_TIMEOUT = "child_timeout"
    MODEL_REJECTED = "model_rejected"
    WORKER_DIED = "worker_died"
    PHONE = "phone"
    LATENCY_TOOL = "latency_tool"
    INTERNAL = "internal"

    @property
    def blames_candidate(self) -> bool:
        """Whether the failure counts against the network."""
        return self in _CANDIDATE_KINDS


_CANDIDATE_KINDS = frozenset(
    {
        FailureKind.EXPORT,
        FailureKind.TRAINING_DIVERGED,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.CHILD_TIMEOUT,
        FailureKind.MODEL_REJECTED,
    }
)


@dataclass(frozen=True)
class Failure:
    """One failure of a trial: its kind and what was said."""

    kind: FailureKind
    message: str


class TrialError(Exception):
    """Raised by the parts of a trial; carries the failure that the trial ends with."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(f"{kind.value}: {message}")
        self.failure = Failure(kind, message)
