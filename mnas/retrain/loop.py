"""The loop of a full training: steps, checkpoints, validation and logs, from the last checkpoint on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, Position
from mnas.network.weights import Weights
from mnas.retrain.logs import EpochRow, StepRow
from mnas.retrain.recipe import Recipe
from mnas.retrain.validation import Validator
from mnas.retrain.writer import MeanLoss, Writer
from mnas.training.phases import PhaseTime
from mnas.training.sinking import SunkSteps
from mnas.training.trainer import StepReport, Trainer


class RetrainObserver(Protocol):
    """Callbacks of a full training."""

    def started(self, position: Position, epochs: int, steps_per_epoch: int, phases: dict[str, PhaseTime]) -> None:
        """Observe the start of training at `position`, after these phases; one of them is "compile"."""
        ...

    def stepped(self, report: StepReport, images_per_s: float, ms_per_step: float) -> None:
        """Observe some steps, of which `report` is the last; the speed is that of the epoch so far."""
        ...

    def epoch_finished(self, row: EpochRow) -> None:
        """Observe the end of an epoch, validated or not."""
        ...


class SilentObserver:
    """Shows nothing."""

    def started(self, position: Position, epochs: int, steps_per_epoch: int, phases: dict[str, PhaseTime]) -> None:
        """See `RetrainObserver`."""

    def stepped(self, report: StepReport, images_per_s: float, ms_per_step: float) -> None:
        """See `RetrainObserver`."""

    def epoch_finished(self, row: EpochRow) -> None:
        """See `RetrainObserver`."""


class Loop:
    """The remaining epochs of a training. `writer` is None in all processes but the first."""

    def __init__(
        self,
        recipe: Recipe,
        trainer: Trainer,
        validator: Validator,
        writer: Writer | None,
        observer: RetrainObserver,
    ) -> None:
        self._recipe, self._trainer, self._writer, self._observer = recipe, trainer, writer, observer
        self._validator = validator
        self._take_steps = trainer.steps

    def run_from(self, last: Checkpoint | None) -> None:
        """Train from this checkpoint, whose state the trainer has, to the end; None is the start."""
        position, loss = Position(), MeanLoss()
        if last is not None:
            position = last.position
            loss = MeanLoss(last.counters["loss_sum"], round(last.counters["loss_steps"]))
        epochs = {
            epoch: self._segments(epoch, position) for epoch in range(position.epoch, self._recipe.training.epochs)
        }
        if self._recipe.sink_steps is not None:
            remaining = [(epoch, steps) for epoch, parts in epochs.items() for steps in parts]
            self._take_steps = SunkSteps(self._trainer, remaining, self._recipe.sink_steps).steps
        for epoch, parts in epochs.items():
            self._epoch(epoch, parts, loss)
            loss = MeanLoss()

    def _segments(self, epoch: int, position: Position) -> list[range]:
        first = max(0, position.step - epoch * self._trainer.steps_per_epoch)
        return list(segments(first, self._trainer.steps_per_epoch, self._recipe.checkpoint_every_steps))

    def _epoch(self, epoch: int, parts: list[range], loss: MeanLoss) -> None:
        trainer, recipe = self._trainer, self._recipe
        speed = _Speed(recipe.training.batch_size)
        for steps in parts:
            self._steps(epoch, steps, loss, speed)
            if self._writer is not None and steps is not parts[-1]:
                position = Position(epoch=epoch, step=epoch * trainer.steps_per_epoch + steps.stop)
                self._writer.run.write_last(self._writer.checkpoint(trainer, position, loss, None))
        start = time.perf_counter()
        is_last = epoch + 1 == recipe.training.epochs
        validates = is_last or (epoch + 1) % recipe.validate_every_epochs == 0
        evaluated, accuracy = None, None
        if validates:
            evaluated = trainer.evaluated()
            accuracy = self._validator.validate(evaluated, of_ema=recipe.training.ema is not None)
        if self._writer is not None:
            self._end_epoch(self._writer, epoch, loss, speed, evaluated, accuracy, time.perf_counter() - start)

    def _steps(self, epoch: int, steps: range, loss: MeanLoss, speed: _Speed) -> None:
        window, skipped = MeanLoss(), 0
        speed.restart()
        before = epoch * self._trainer.steps_per_epoch + steps.start
        for report in self._take_steps(epoch, steps):
            speed.add(report.step + 1 - before)
            before = report.step + 1
            loss.add(report)
            window.add(report)
            skipped += report.skipped
            done = report.step + 1
            self._observer.stepped(report, speed.images_per_s(), speed.ms_per_step())
            at_end = done == epoch * self._trainer.steps_per_epoch + steps.stop
            if self._writer is not None and (at_end or done % self._recipe.log_every_steps == 0):
                self._writer.logs.steps(
                    StepRow(
                        step=done,
                        epoch=epoch + 1,
                        train_loss=window.mean(),
                        learning_rate=report.learning_rate,
                        loss_scale=self._trainer.loss_scale,
                        skipped=skipped,
                    )
                )
                window, skipped = MeanLoss(), 0

    def _end_epoch(
        self,
        writer: Writer,
        epoch: int,
        loss: MeanLoss,
        speed: _Speed,
        evaluated: Weights | None,
        accuracy: Accuracy | None,
        validate_s: float,
    ) -> None:
        trainer, recipe = self._trainer, self._recipe
        position = Position(epoch=epoch + 1, step=(epoch + 1) * trainer.steps_per_epoch)
        row = EpochRow(
            epoch=position.epoch,
            step=position.step,
            learning_rate=float(trainer.learning_rates[position.step - 1]),
            train_loss=loss.mean(),
            top1=None if accuracy is None else accuracy.top1,
            top5=None if accuracy is None else accuracy.top5,
            loss=None if accuracy is None else accuracy.loss,
            images_per_s=speed.images_per_s(),
            ms_per_step=speed.ms_per_step(),
            train_s=speed.seconds,
            validate_s=validate_s,
        )
        # The checkpoint comes last: a process that is killed before it repeats the end of the epoch and these lines.
        writer.logs.epoch(row)
        checkpoint = writer.checkpoint(trainer, position, MeanLoss(), accuracy)
        if evaluated is not None:
            checkpoint = checkpoint.with_best_weights(evaluated)
        if accuracy is not None:
            writer.run.write_if_best(checkpoint, recipe.keep_best)
        writer.run.write_last(checkpoint)
        self._observer.epoch_finished(row)


def segments(first: int, steps: int, every: int | None) -> Iterator[range]:
    """Divide the steps of an epoch, from `first` on, at every multiple of `every`; None divides nothing.

    >>> list(segments(3, 10, 4))
    [range(3, 4), range(4, 8), range(8, 10)]
    """
    while first < steps:
        stop = steps if every is None else min(steps, (first // every + 1) * every)
        yield range(first, stop)
        first = stop


class _Speed:
    """The speed of the steps of an epoch, without compiling, validating and writing checkpoints."""

    def __init__(self, batch_size: int) -> None:
        self.steps, self.seconds = 0, 0.0
        self._batch_size, self._at = batch_size, time.perf_counter()

    def restart(self) -> None:
        self._at = time.perf_counter()

    def add(self, steps: int) -> None:
        now = time.perf_counter()
        self.steps, self.seconds, self._at = self.steps + steps, self.seconds + now - self._at, now

    def images_per_s(self) -> float:
        return self.steps * self._batch_size / self.seconds

    def ms_per_step(self) -> float:
        return 1000 * self.seconds / self.steps
