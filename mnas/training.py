"""The training loop, for children and for full training alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnas.data import ImageSource
from mnas.errors import DataError, TrainingDivergedError
from mnas.evaluation import check_source
from mnas.kernels import usable_kernels
from mnas.learning_rate import learning_rates
from mnas.mindspore_setup import Device, mindspore_errors, prepare_mindspore
from mnas.phases import PhaseTime, timed
from mnas.training_settings import TrainingSettings
from mnas.weights import FloatArray, Weights, initial_weights
from search_space.lowering import LoweredNetwork

if TYPE_CHECKING:
    from mindspore import Tensor

# Reading a loss waits for the device; this bounds both the waiting and the steps that a diverged training wastes.
STEPS_BETWEEN_LOSS_CHECKS = 20


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
    device: Device = "CPU",
    threads: int | None = None,
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
    check_source(network, source)
    if len(source) < settings.batch_size:
        raise DataError(
            f"{len(source)} training images do not fill one batch of {settings.batch_size}; lower `batch_size`"
        )
    phases: dict[str, PhaseTime] = {}
    with timed(phases, "import"):
        prepare_mindspore(device, threads)
        import mindspore

        from mnas.network import build_network, network_weights
        from mnas.training_step import TrainingStep

    steps_per_epoch = len(source) // settings.batch_size
    rates = learning_rates(settings, steps_per_epoch)
    if kernels is None:
        kernels = usable_kernels(device, threads)
    with timed(phases, "build"):
        initial = initial_weights(network, seed) if weights is None else weights
        cell = build_network(
            network,
            initial,
            dropout=settings.dropout,
            seed=seed,
            norm_momentum=settings.norm_momentum,
            kernels=kernels,
        )
        step = TrainingStep(cell, network.num_classes, settings, kernels=kernels)
    # MindSpore forgets which graphs it has compiled whenever a compiled cell is collected as garbage, and would compile
    # this one again at its first step. Collect the cells of earlier trainings first.
    gc.collect()
    # Compile on arrays of the right form, so that reading data is no part of it.
    form = (settings.batch_size, network.channels, network.image_size, network.image_size)
    example = (np.zeros(form, np.float32), np.zeros(settings.batch_size, np.int32), rates[0])
    with timed(phases, "compile"), mindspore_errors():
        step.compile(*map(mindspore.Tensor, example))

    loss = float("nan")
    with timed(phases, "train"):
        for epoch in range(settings.epochs):
            start = time.perf_counter()
            losses = _LossWatch(first_step=epoch * steps_per_epoch)
            epoch_rates = rates[epoch * steps_per_epoch : (epoch + 1) * steps_per_epoch]
            batches = source.training_batches(settings.batch_size, seed=seed, epoch=epoch)
            for (images, labels), rate in zip(batches, epoch_rates, strict=True):
                with mindspore_errors():
                    losses.add(step(mindspore.Tensor(images), mindspore.Tensor(labels), mindspore.Tensor(rate)))
            with mindspore_errors():
                loss = losses.mean()
            if on_epoch is not None:
                speed = steps_per_epoch * settings.batch_size / (time.perf_counter() - start)
                on_epoch(EpochProgress(epoch + 1, settings.epochs, loss, float(epoch_rates[-1]), speed))
    return TrainingResult(
        weights=network_weights(cell),
        final_loss=loss,
        steps=len(rates),
        images=len(rates) * settings.batch_size,
        phases=phases,
    )


class _LossWatch:
    """The losses of one epoch; reads them from the device in groups, and raises where one is not finite."""

    def __init__(self, first_step: int) -> None:
        self._first_step = first_step
        self._losses: list[float] = []
        self._unread: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        self._unread.append(loss)
        if len(self._unread) == STEPS_BETWEEN_LOSS_CHECKS:
            self._read()

    def mean(self) -> float:
        self._read()
        return float(np.mean(self._losses))

    def _read(self) -> None:
        for tensor in self._unread:
            loss = float(tensor.asnumpy())
            if not np.isfinite(loss):
                raise TrainingDivergedError(self._first_step + len(self._losses), loss)
            self._losses.append(loss)
        self._unread.clear()
