"""One child of the search: a short training, then its accuracy on the reward set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import psutil

from mnas.checkpoints.checkpoint import Accuracy, Position
from mnas.data import ImageForm, ImageSource, SearchData
from mnas.evaluation.accuracy import Evaluation, Evaluator
from mnas.mindspore_setup import Compute
from mnas.network.weights import FloatArray, Weights
from mnas.training.batch_plan import BatchPlan
from mnas.training.phases import LEARNING_CURVE, PhaseTime, timed
from mnas.training.rungs import Rung, RungResult
from mnas.training.settings import TrainingSettings
from mnas.training.trainer import Trainer
from search_space.architecture import Architecture
from search_space.lowering import LoweredNetwork


@dataclass(frozen=True)
class TrainedWeights:
    """The weights of a child that has been trained.

    Attributes:
        values: By name.
        position: How far the training has come.
        accuracy: On the reward set; None if the loss there is not finite.
    """

    values: Weights
    position: Position
    accuracy: Accuracy | None


@dataclass(frozen=True)
class ChildResult:
    """The result of a child and its cost.

    Attributes:
        accuracy: Top-1 on the reward set, 0 to 1, when the training ended.
        loss: Mean cross entropy on the reward set.
        train_loss: Mean training loss of the last epoch.
        steps: Training steps.
        images_per_s: Speed of the "train" phase.
        phases: Cost of "import", "build", "compile", "train" (those of `TrainingResult`) and "evaluate", in which the
            statistics of `norm_batches` are measured, too.
        resident_mb: Resident memory of the process at the end, in 10^6 bytes. MindSpore releases no compiled graph, so
            it grows with each child.
        epoch_losses: Mean training loss of each epoch.
        epoch_accuracies: Top-1 on the reward set after each epoch; empty unless it was asked for.
        rungs: What it had reached at its rungs.
        stopped: Whether it was stopped at the last of them.
        started_at: When the search gave the child to a worker, by its own clock (UTC, ISO 8601); see `attempt`.
        weights: The trained weights; None unless they were asked for, and if they are too large or the child was
            stopped early.
    """

    accuracy: float
    loss: float
    train_loss: float
    steps: int
    images_per_s: float
    phases: dict[str, PhaseTime]
    resident_mb: float
    epoch_losses: tuple[float, ...] = ()
    epoch_accuracies: tuple[float, ...] = ()
    rungs: tuple[RungResult, ...] = ()
    stopped: bool = False
    started_at: str | None = None
    weights: TrainedWeights | None = None

    def record(self) -> dict[str, Any]:
        """Return the fields as plain data for JSON; with `weights` as they are, if there are any."""
        fields = asdict(replace(self, weights=None))
        del fields["weights"]
        return fields if self.weights is None else fields | {"weights": self.weights}


def train_child(
    architecture: Architecture,
    settings: TrainingSettings,
    data: SearchData,
    *,
    seed: int,
    compute: Compute = Compute(),
    micro_batch_size: int | None = None,
    rungs: Collection[Rung] = (),
    max_weights_bytes: int = 0,
    learning_curve: bool = False,
) -> ChildResult:
    """Train an architecture and measure its accuracy on the reward set, in this process.

    At each of the rungs the accuracy is measured, too, and the training ends if it is below the least one. The result
    of a whole training has the weights if they have at most `max_weights_bytes`. With `learning_curve` the accuracy is
    measured after every epoch; the training is the same.

    Raises what `train_network` and `Evaluator` raise.
    """
    network = ImageForm.of(data.train).lower(architecture)
    evaluator = Evaluator(network, data.reward, compute=compute)
    losses: list[float] = []
    reached: list[RungResult] = []
    evaluations: dict[int, Evaluation] = {}
    evaluation_phases: dict[str, PhaseTime] = {}
    by_epoch = {rung.epoch: rung for rung in rungs}

    def goes_on(epoch: int, weights: Callable[[], Weights]) -> bool:
        rung = by_epoch.get(epoch)
        needed = rung is not None or epoch == settings.epochs
        if not (needed or learning_curve):
            return True
        with timed(evaluation_phases, "evaluate" if needed else LEARNING_CURVE):
            evaluations[epoch] = evaluator.evaluate(weights())
        if rung is None:
            return True
        reached.append(RungResult(epoch, evaluations[epoch].top1, rung.least_accuracy))
        return not reached[-1].is_behind

    result = train_network(
        network,
        settings,
        data.train,
        seed=seed,
        compute=compute,
        micro_batch_size=micro_batch_size,
        on_epoch=lambda progress: losses.append(progress.loss),
        goes_on=goes_on,
    )
    stopped = len(losses) < settings.epochs
    evaluation = evaluations[len(losses)]
    # A child that was stopped is never the best, so nobody keeps its weights.
    sent = not stopped and sum(value.nbytes for value in result.weights.values()) <= max_weights_bytes
    return ChildResult(
        accuracy=evaluation.top1,
        loss=evaluation.loss,
        train_loss=result.final_loss,
        steps=result.steps,
        images_per_s=result.images_per_s,
        phases={**result.phases, **evaluation_phases},
        resident_mb=psutil.Process().memory_info().rss / 1e6,
        epoch_losses=tuple(losses),
        epoch_accuracies=tuple(one.top1 for _, one in sorted(evaluations.items())) if learning_curve else (),
        rungs=tuple(reached),
        stopped=stopped,
        weights=_trained_weights(result, settings, len(losses), evaluation) if sent else None,
    )


def _trained_weights(
    result: TrainingResult, settings: TrainingSettings, epochs: int, evaluation: Evaluation
) -> TrainedWeights:
    accuracy = Accuracy(
        top1=evaluation.top1,
        top5=evaluation.top5,
        loss=evaluation.loss,
        images=evaluation.images,
        of_ema=settings.ema is not None,
        on="validation",
    )
    position = Position(epoch=epochs, step=result.steps)
    return TrainedWeights(result.weights, position, accuracy if math.isfinite(evaluation.loss) else None)


@dataclass(frozen=True)
class EpochProgress:
    """One finished epoch.

    Attributes:
        epoch: Number of the epoch, counted from 1.
        epochs: Number of all epochs.
        loss: Mean training loss.
        learning_rate: Learning rate of the last step.
        images_per_s: Speed, without compilation.
    """

    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    images_per_s: float


@dataclass(frozen=True)
class TrainingResult:
    """A trained network.

    Attributes:
        weights: Those of `Trainer.evaluated`.
        final_loss: Mean training loss of the last epoch.
        steps: Training steps.
        images: Number of images trained on, repeats counted.
        phases: Cost of "import" (MindSpore, once in a process), "build" (cells and weights), "compile" (graph) and
            "train" (all steps, data preparation included).
    """

    weights: dict[str, FloatArray]
    final_loss: float
    steps: int
    images: int
    phases: dict[str, PhaseTime]

    @property
    def images_per_s(self) -> float:
        """Images per second of the "train" phase."""
        return self.images / self.phases["train"].wall_s


def train_network(
    network: LoweredNetwork,
    settings: TrainingSettings,
    source: ImageSource,
    *,
    seed: int,
    compute: Compute = Compute(),
    micro_batch_size: int | None = None,
    weights: Weights | None = None,
    on_epoch: Callable[[EpochProgress], None] | None = None,
    goes_on: Callable[[int, Callable[[], Weights]], bool] = lambda epoch, weights: True,
) -> TrainingResult:
    """Train a network in this process and return its weights.

    Written for Ascend as for the CPU, tested on the CPU.

    Args:
        network: What is trained.
        settings: How it is trained.
        source: The training images and their labels.
        seed: Decides the initial weights (unless `weights` are given), the order of the images and the dropout.
        compute: What this process computes on.
        micro_batch_size: Images that go through the device at a time; None takes whole batches.
        weights: Weights to begin with.
        on_epoch: Called after every epoch; what it raises ends the training.
        goes_on: Called after every epoch with its number, counted from 1, and a function that returns the weights by
            then, as `TrainingResult` has them. The training ends if it returns False.

    Raises:
        DataError: The images do not fit the network or fill no batch.
        TrainingDivergedError: The loss is not finite.
        OutOfMemoryError: Memory of the device or the host runs out.
        TrainingError: MindSpore fails in any other way.
    """
    plan = BatchPlan(settings.batch_size, micro_batch_size or settings.batch_size)
    trainer = Trainer(network, settings, source, seed=seed, plan=plan, compute=compute, start=weights)
    phases = dict(trainer.phases)
    steps = trainer.steps_per_epoch

    @lru_cache(maxsize=1)  # the last weights are asked for twice, and may be measured
    def weights_after(epoch: int) -> dict[str, FloatArray]:
        return trainer.evaluated()

    for epoch in range(1, settings.epochs + 1):
        start = time.perf_counter()
        with timed(phases, "train"):
            reports = list(trainer.steps(epoch - 1, range(steps)))
            loss = float(np.mean([report.loss for report in reports]))
        if on_epoch is not None:
            speed = steps * settings.batch_size / (time.perf_counter() - start)
            on_epoch(EpochProgress(epoch, settings.epochs, loss, reports[-1].learning_rate, speed))
        if not goes_on(epoch, partial(weights_after, epoch)):
            break
    return TrainingResult(
        weights=weights_after(epoch),
        final_loss=loss,
        steps=epoch * steps,
        images=epoch * steps * settings.batch_size,
        phases=phases,
    )
