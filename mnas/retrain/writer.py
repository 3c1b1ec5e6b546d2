"""Checkpoints and logs of a full training, in its first process."""

from __future__ import annotations

from dataclasses import replace

from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, Position
from mnas.retrain.directory import RetrainDirectory
from mnas.retrain.logs import Logs
from mnas.training.trainer import StepReport, Trainer, TrainerState


class MeanLoss:
    """The mean loss of some steps; skipped steps do not count."""

    def __init__(self, total: float = 0.0, steps: int = 0) -> None:
        self.total, self.steps = total, steps

    def add(self, report: StepReport) -> None:
        """Add the loss of a step, unless it was skipped."""
        if not report.skipped:
            self.total += report.loss
            self.steps += 1

    def mean(self) -> float:
        """Return the mean, NaN without steps."""
        return self.total / self.steps if self.steps else float("nan")


class Writer:
    """Writes to the run directory and the logs.

    Attributes:
        run: The run directory.
        logs: Its open logs.
    """

    def __init__(self, run: RetrainDirectory, logs: Logs, untrained: Checkpoint) -> None:
        """Keep the parts; `untrained` is a checkpoint without weights, which `checkpoint` fills in."""
        self.run, self.logs, self._untrained = run, logs, untrained

    def checkpoint(self, trainer: Trainer, position: Position, loss: MeanLoss, accuracy: Accuracy | None) -> Checkpoint:
        """Return the checkpoint of the trainer's state, to resume from."""
        state = trainer.state()
        return replace(
            self._untrained,
            weights=state.weights,
            ema=state.ema,
            training=state.slots,
            position=position,
            counters={
                "loss_scale": state.loss_scale,
                "good_steps": state.good_steps,
                "loss_sum": loss.total,
                "loss_steps": loss.steps,
            },
            accuracy=accuracy,
        )


def trainer_state(checkpoint: Checkpoint) -> TrainerState:
    """Return the state from which a `Trainer` resumes a checkpoint."""
    return TrainerState(
        weights=checkpoint.weights,
        ema=checkpoint.ema,
        slots=checkpoint.training,
        loss_scale=checkpoint.counters["loss_scale"],
        good_steps=round(checkpoint.counters["good_steps"]),
    )
