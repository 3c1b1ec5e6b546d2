"""The errors that users can cause or mend; the command line prints them without a traceback."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class MnasError(Exception):
    """Base of mnas' own errors: the message names the thing, the rule and the remedy."""


class ConfigurationError(MnasError):
    """An experiment, recipe or option that cannot be used as written."""


class DataError(MnasError):
    """Training data that is missing, empty, unreadable or of the wrong form."""


class WeightsError(MnasError):
    """Weights that do not fit the network they are given for."""


class TrainingError(MnasError):
    """A training run that failed; its subclasses say how."""


class TrainingDivergedError(TrainingError):
    """The loss became infinite or not a number at `step` (counted from 0)."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(
            f"training diverged: the loss is {loss} at step {step}; lower the learning rate or clip the gradients"
        )
        self.step = step
        self.loss = loss

    def __reduce__(self) -> tuple[type[TrainingDivergedError], tuple[int, float]]:
        # Ray sends errors between processes; the default would rebuild this one from its message alone.
        return type(self), (self.step, self.loss)


class OutOfMemoryError(TrainingError):
    """The device or the host had not enough memory for the network and batch."""


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
