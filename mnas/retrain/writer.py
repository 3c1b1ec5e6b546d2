"""What the first process does beside training: it validates, and writes checkpoints and logs."""

from __future__ import annotations

from dataclasses import replace

from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, Position
from mnas.evaluation.accuracy import Evaluator
from mnas.retrain.directory import RetrainDirectory
from mnas.retrain.logs import Logs
from mnas.training.trainer import StepReport, Trainer, TrainerState


class MeanLoss:
    """The mean loss of some steps, those skipped left out."""

    def __init__(self, total: float = 0.0, steps: int = 0) -> None:
        self.total, self.steps = total, steps

    def add(self, report: StepReport) -> None:
        """Count a step."""
        if not report.skipped:
            self.total += report.loss
            self.steps += 1

    def mean(self) -> float:
        """Return the mean, NaN without steps."""
        return self.total / self.steps if self.steps else float("nan")


class Writer:
    """The run directory, the logs and the test set; `untrained` is the checkpoint to fill in."""

    def __init__(self, run: RetrainDirectory, logs: Logs, evaluator: Evaluator, untrained: Checkpoint) -> None:
        self.run, self.logs, self._evaluator, self._untrained = run, logs, evaluator, untrained

    def checkpoint(self, trainer: Trainer, position: Position, loss: MeanLoss, accuracy: Accuracy | None) -> Checkpoint:
        """Return a checkpoint to resume from."""
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

    def validate(self, trainer: Trainer) -> Accuracy:
        """Evaluate the moving average of the weights, or the weights where there is none."""
        ema = trainer.ema()
        result = self._evaluator.evaluate(trainer.weights() if ema is None else ema)
        return Accuracy(
            top1=result.top1, top5=result.top5, loss=result.loss, images=result.images, of_ema=ema is not None
        )


def trainer_state(checkpoint: Checkpoint) -> TrainerState:
    """Return what a `Trainer` goes on from."""
    return TrainerState(
        weights=checkpoint.weights,
        ema=checkpoint.ema,
        slots=checkpoint.training,
        loss_scale=checkpoint.counters["loss_scale"],
        good_steps=round(checkpoint.counters["good_steps"]),
    )
