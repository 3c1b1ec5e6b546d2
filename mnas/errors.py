"""The errors of mnas; the command line prints them without a traceback.

Error                          anything that mnas raises on purpose; exit code 1
├── InputError                 what the user gave cannot be used; exit code 2
│   ├── DocumentError          a YAML file or JSON record (also a ValueError)
│   ├── ConfigurationError     an experiment, recipe or option
│   ├── DataError              images
│   ├── CheckpointError        a checkpoint                          mnas.checkpoints.checkpoint
│   ├── SpaceError             a search space or architecture        search_space (also a ValueError)
│   ├── ControllerError        a controller's use                    controllers (also a ValueError)
│   └── CandidateError         a model that cannot be timed          latency (also a LatencyError)
├── WeightsError               weights that do not fit their network
├── TrainingError              a training that failed
│   ├── TrainingDivergedError
│   └── OutOfMemoryError
├── TrialError                 a trial of a search that failed, with its FailureKind
├── SearchStoppedError         a search that gave up                 mnas.search.driver
├── RunDirectoryError          a run directory                       mnas.files
├── StoreError                 a trial store                         mnas.search.store
├── ExportError                an exported folder                    mnas.export.folder
└── LatencyError               a measurement                         latency
    ├── CandidateError         the model is at fault
    ├── PhoneError             the phone is at fault
    └── ToolError              mnas is at fault
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mnas.documents.errors import DocumentError, Error, InputError

__all__ = [
    "FAILED_CANDIDATE_REWARD",
    "ConfigurationError",
    "DataError",
    "DocumentError",
    "Error",
    "Failure",
    "FailureKind",
    "InputError",
    "OutOfMemoryError",
    "TrainingDivergedError",
    "TrainingError",
    "TrialError",
    "WeightsError",
]


class ConfigurationError(InputError):
    """An experiment, recipe or option that cannot be used as written."""


class DataError(InputError):
    """Training data that is missing, empty, unreadable or of the wrong form."""


class WeightsError(Error):
    """Weights that do not fit the network they are given for."""


class TrainingError(Error):
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


class TrialError(Error):
    """Raised by the parts of a trial; carries the failure that the trial ends with."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(f"{kind.value}: {message}")
        self.failure = Failure(kind, message)
