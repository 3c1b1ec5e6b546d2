"""The errors of mnas; the command line prints them without a traceback.

Error                          anything that mnas raises on purpose; exit code 1
├── InputError                 what the user gave cannot be used; exit code 2
│   ├── DocumentError          a YAML file or JSON record (also a ValueError)
│   ├── ConfigurationError     an experiment, recipe or option
│   ├── DataError              images
│   ├── CheckpointError        a checkpoint                          mnas.checkpoints.checkpoint
│   ├── SpaceError             a search space or architecture        search_space (also a ValueError)
│   ├── ControllerError        a controller's use                    controllers (also a ValueError)
│   ├── CandidateError         a model that cannot be timed          latency (also a LatencyError)
│   ├── PhoneUnknownError      a phone's name                        latency (also a PhoneError)
│   └── ProfileError           a phone's profile                     latency (also a PhoneError)
├── WeightsError               weights that do not fit their network
├── TrainingError              a training that failed
│   ├── TrainingDivergedError
│   └── OutOfMemoryError
├── TrialError                 a trial of a search that failed, with its FailureKind
├── AuditError                 an audit                              mnas.audit.findings
├── ClusterError               Ray on this machine
│   └── ClusterLostError       Ray, or a vital part of it, ended during a search
├── SearchStoppedError         a search that gave up                 mnas.search.driver
├── OwnPartError               a proposal of a user's controller mnas.search.driver
├── RunDirectoryError          a run directory                       mnas.files
├── StoreError                 a trial store                         mnas.search.store
├── ExportError                an exported folder                    mnas.export.folder
└── LatencyError               a measurement                         latency
    ├── CandidateError         the model is at fault
    ├── PhoneError             the phone is at fault
    │   ├── PhoneUnknownError  no phone has that name                (also an InputError)
    │   ├── ProfileError       a phone's profile                     (also an InputError)
    │   ├── PhoneGoneError     it does not answer
    │   ├── PhoneTimeoutError  it took too long
    │   └── PhoneUnstableError no window was steady
    └── ToolError              mnas is at fault
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mnas.documents.errors import DocumentError, Error, InputError

__all__ = [
    "FAILED_CANDIDATE_REWARD",
    "ClusterError",
    "ClusterLostError",
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
    """An experiment, recipe or option cannot be used as written."""


class DataError(InputError):
    """Images are missing, empty, unreadable or of the wrong form."""


class WeightsError(Error):
    """Weights do not fit the network that they are given for."""


class TrainingError(Error):
    """A training failed; the subclasses say how."""


class TrainingDivergedError(TrainingError):
    """The loss became infinite or NaN at `step`, counted from 0."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(
            f"training diverged: the loss is {loss} at step {step}; lower the learning rate or clip the gradients"
        )
        self.step = step
        self.loss = loss


class OutOfMemoryError(TrainingError):
    """The device or the host does not have enough memory for the network and batch."""


class ClusterError(Error):
    """Ray cannot be started or used on this machine."""


class ClusterLostError(ClusterError):
    """Ray, or a vital part of it, ended during a search.

    Attributes:
        restartable: Whether this process had started that Ray, and can start another one.
    """

    def __init__(self, message: str, *, restartable: bool) -> None:
        super().__init__(message)
        self.restartable = restartable


FAILED_CANDIDATE_REWARD = 0.0
"""What the controller is told of a network that cannot be trained or run: such a network classifies nothing."""


class FailureKind(Enum):
    """Why a trial failed; the value is what the store and the JSON output hold.

    Some kinds blame the candidate: the network is at fault, and the controller is told `FAILED_CANDIDATE_REWARD`.
    The other kinds say nothing about the network: the work is retried, and if that does not help the trial ends as
    failed and the controller is told nothing.

    `cancelled` is what somebody asked for: the controller is told nothing, and the trial is not tried again.
    `out_of_memory` is the memory of the child's own process, `node_memory` that of the machine it trains on. A child
    that ran out of memory or time is trained once more, alone, before it is blamed. `worker_hung` is a child that
    ran out of time while its process was stopped, or got too little of a core. `kills_worker` is a child whose worker
    died each time, on nodes that train other children. `data` is an image that cannot be read: every child would fail,
    so the search stops at once.
    """

    EXPORT = "export"
    TRAINING_DIVERGED = "training_diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CHILD_TIMEOUT = "child_timeout"
    MODEL_REJECTED = "model_rejected"
    WORKER_DIED = "worker_died"
    WORKER_HUNG = "worker_hung"
    KILLS_WORKER = "kills_worker"
    NODE_MEMORY = "node_memory"
    DATA = "data"
    PHONE = "phone"
    LATENCY_TOOL = "latency_tool"
    INTERNAL = "internal"
    CANCELLED = "cancelled"

    @property
    def blames_candidate(self) -> bool:
        """Whether the network is at fault."""
        return self in _CANDIDATE_KINDS

    @property
    def is_final(self) -> bool:
        """Whether a resumed search leaves the trial as it is instead of trying it again."""
        return self.blames_candidate or self is FailureKind.CANCELLED


_CANDIDATE_KINDS = frozenset(
    {
        FailureKind.EXPORT,
        FailureKind.TRAINING_DIVERGED,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.CHILD_TIMEOUT,
        FailureKind.KILLS_WORKER,
        FailureKind.MODEL_REJECTED,
    }
)


@dataclass(frozen=True)
class Failure:
    """Why one trial failed: the kind, and the message for people."""

    kind: FailureKind
    message: str


class TrialError(Error):
    """A part of a trial failed; the trial ends with `failure`. Own trainers and latency meters raise it, too."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(kind, message)  # both in `args`, so that the error survives a copy between processes
        self.failure = Failure(FailureKind(kind), str(message))

    def __str__(self) -> str:
        return f"{self.failure.kind.value}: {self.failure.message}"
