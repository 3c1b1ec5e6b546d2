"""The errors that users can cause or mend; the command line prints them without a traceback."""

from __future__ import annotations


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
