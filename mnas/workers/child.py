"""One child of the search: a short training, then its accuracy on the reward set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil

from mnas.data import ImageSource
from mnas.evaluation.accuracy import Evaluator
from mnas.mindspore_setup import Compute
from mnas.network.weights import FloatArray, Weights
from mnas.training.phases import PhaseTime, timed
from mnas.training.settings import TrainingSettings
from mnas.training.trainer import Trainer
from search_space.architecture import Architecture
from search_space.lowering import LoweredNetwork, lower


@dataclass(frozen=True)
class ChildResult:
    """What a child showed and what it cost.

    accuracy, loss: top-1 and mean cross entropy on the reward set.
    train_loss: mean training loss of the last epoch.
    images_per_s: of the training phase.
    phases: "import", "build", "compile", "train" (as of `TrainingResult`) and "evaluate".
    resident_mb: memory of the process at the end, in 10^6 bytes; MindSpore releases no compiled graph, so it grows
        with each child.
    """

    accuracy: float
    loss: float
    train_loss: float
    steps: int
    images_per_s: float
    phases: dict[str, PhaseTime]
    resident_mb: float


def train_child(
    architecture: Architecture,
    settings: TrainingSettings,
    train_source: ImageSource,
    reward_source: ImageSource,
    *,
    seed: int,
    compute: Compute = Compute(),
) -> ChildResult:
    """Train an architecture and measure its accuracy on the reward set, in this process.

    Raises what `mnas.workers.child.train` and `mnas.evaluation.accuracy.Evaluator` raise.
    """
    network = lower(
        architecture,
        image_size=train_source.image_size,
        channels=train_source.channels,
        num_classes=train_source.num_classes,
    )
    result = train(network, settings, train_source, seed=seed, compute=compute)
    phases = dict(result.phases)
    with timed(phases, "evaluate"):
        evaluation = Evaluator(network, reward_source, compute=compute).evaluate(result.weights)
    return ChildResult(
        accuracy=evaluation.top1,
        loss=evaluation.loss,
        train_loss=result.final_loss,
        steps=result.steps,
        images_per_s=result.images_per_s,
        phases=phases,
        resident_mb=psutil.Process().memory_info().rss / 1e6,
    )


@dataclass(frozen=True)
class EpochProgress:
    """One finished epoch, counted from 1: mean training loss, last learning rate, speed without compilation."""

    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    images_per_s: float


@dataclass(frozen=True)
class TrainingResult:
    """A trained network.

    weights: their moving average where the settings want one.
    final_loss: mean training loss of the last epoch.
    images: how many were trained on, repeats counted.
    phases: "import" (MindSpore, once in a process), "build" (cells and weights), "compile" (graph), "train" (all
        steps, data preparation included).
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


def train(
    network: LoweredNetwork,
    settings: TrainingSettings,
    source: ImageSource,
    *,
    seed: int,
    compute: Compute = Compute(),
    weights: Weights | None = None,
    kernels: bool | None = None,
    on_epoch: Callable[[EpochProgress], None] | None = None,
) -> TrainingResult:
    """Train a network on `source` and return its weights.

    `seed` decides the initial weights (unless `weights` are given), the order of the images and the dropout. `on_epoch`
    is called after every epoch; what it raises ends the training. `kernels` None takes `mnas.kernels` where they can be
    used. Written for Ascend as for the CPU, tested on the CPU.

    Raises DataError where the images do not fit the network or fill no batch, TrainingDivergedError where the loss is
    not finite, OutOfMemoryError, and TrainingError for any other failure of MindSpore.
    """
    trainer = Trainer(network, settings, source, seed=seed, compute=compute, weights=weights, kernels=kernels)
    phases = dict(trainer.phases)
    steps = trainer.steps_per_epoch
    loss = float("nan")
    with timed(phases, "train"):
        for epoch in range(settings.epochs):
            start = time.perf_counter()
            reports = list(trainer.steps(epoch, range(steps)))
            loss = float(np.mean([report.loss for report in reports]))
            if on_epoch is not None:
                speed = steps * settings.batch_size / (time.perf_counter() - start)
                on_epoch(EpochProgress(epoch + 1, settings.epochs, loss, reports[-1].learning_rate, speed))
    return TrainingResult(
        weights=trainer.ema() or trainer.weights(),
        final_loss=loss,
        steps=settings.epochs * steps,
        images=settings.epochs * steps * settings.batch_size,
        phases=phases,
    )
