"""The trainer of a network, for children and for full training: its steps, and its whole state as arrays."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from mnas.data import ImageSource
from mnas.data.source import check_source
from mnas.errors import ConfigurationError, TrainingDivergedError, WeightsError
from mnas.mindspore_setup import Compute, Device, mindspore_errors, prepare_mindspore
from mnas.network.weights import FloatArray, Weights, initial_weights
from mnas.training.batch_plan import BatchPlan, check_fills_batch
from mnas.training.feed import Arrays, Feed, feed_for
from mnas.training.norm_statistics import NormStatistics
from mnas.training.phases import PhaseTime, timed
from mnas.training.schedules import LossScaler, dropout_mask, ema_decay, learning_rates
from mnas.training.settings import TrainingSettings
from search_space.lowering import Dense, LoweredNetwork

if TYPE_CHECKING:
    from mindspore import Parameter, Tensor
    from mindspore.nn import Cell

    _MicroBatch: TypeAlias = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]

# Reading a loss waits for the device. These bound the time spent waiting and the steps that a diverged training wastes.
STEPS_BETWEEN_READS = 20
SECONDS_BETWEEN_READS = 1.0


@dataclass(frozen=True)
class StepReport:
    """One step of a training.

    Attributes:
        step: Number of the step, counted from 0 over the whole training.
        loss: Mean loss before the update, over this process' images.
        learning_rate: Learning rate of the step.
        skipped: Whether its gradients were not finite, so that the dynamic loss scale was lowered instead.
    """

    step: int
    loss: float
    learning_rate: float
    skipped: bool


@dataclass(frozen=True)
class TrainerState:
    """The whole state of a training between two steps.

    Attributes:
        weights: Weights and batch-norm statistics by name.
        ema: Their moving averages by name; None if the settings have none.
        slots: The optimizer's arrays by name. An array with a number for each weight is a vector over all weights in
            their order.
        loss_scale: Loss scale of the next step.
        good_steps: Steps since a dynamic loss scale last changed.
    """

    weights: Weights
    ema: Weights | None
    slots: Mapping[str, npt.NDArray[np.generic]]
    loss_scale: float
    good_steps: int


class Trainer:
    """The compiled training step of one network, and the data that it is trained on.

    Attributes:
        steps_per_epoch: Batches in an epoch.
        learning_rates: Learning rate of every step, shape (epochs x steps_per_epoch,).
        phases: Time of "import" (MindSpore, once in a process), "build" (cells and weights) and "compile" (graphs).
    """

    def __init__(
        self,
        network: LoweredNetwork,
        settings: TrainingSettings,
        source: ImageSource,
        *,
        seed: int,
        plan: BatchPlan | None = None,
        compute: Compute = Compute(),
        start: TrainerState | Weights | None = None,
        compiles: bool = True,
        feed: Callable[[ImageSource, Device], Feed] = feed_for,
    ) -> None:
        """Build and compile.

        Args:
            network: What is trained.
            settings: How it is trained.
            source: The training images and their labels.
            seed: Decides the weights (unless `start` gives them), the order of the images, their augmentation and the
                dropout.
            plan: How a batch is divided; None takes whole batches in this process.
            compute: What this process computes on. A state does not depend on it, but a resumed training takes the
                same steps as an uninterrupted one only if threads and kernels are the same.
            start: The state to resume from, or weights to begin with; None draws weights from `seed`.
            compiles: Whether to compile the step now. MindSpore compiles a sunk step itself, at its first call.
            feed: Chooses how batches reach the device.

        Raises:
            DataError: The images do not fit the network or fill no batch.
            WeightsError: Weights or state are those of another network or training.
            TrainingError: MindSpore fails (see `mindspore_errors`).
        """
        check_source(network, source)
        check_fills_batch(len(source), settings.batch_size)
        self._settings, self._seed = settings, seed
        self._feed = feed(source, compute.device)
        self._plan = plan or BatchPlan(settings.batch_size, settings.batch_size)
        self.steps_per_epoch = len(source) // settings.batch_size
        self.learning_rates = learning_rates(settings, self.steps_per_epoch)
        self._loss_scale = LossScaler(settings.loss_scale)
        self._accumulates = self._plan.accumulated > 1 or self._loss_scale.is_dynamic
        self._norms = NormStatistics(
            network, settings, source, seed=seed, micro_batch_size=self._plan.micro_batch_size, compute=compute
        )
        self._mask_shape = (self._plan.micro_batch_size, _classifier_inputs(network))
        kernels, npu = compute.uses_kernels(settings.precision), compute.device == "Ascend"
        if start is None:
            start = initial_weights(network, seed)
        self.phases: dict[str, PhaseTime] = {}
        with timed(self.phases, "import"):
            prepare_mindspore(compute)
            from mnas.network.mindspore_cell import build_network
            from mnas.training.step import AccumulatingStep, TrainingStep
        with timed(self.phases, "build"):
            self._cell = build_network(
                network,
                start.weights if isinstance(start, TrainerState) else start,
                norm_momentum=settings.norm_momentum,
                precision=settings.precision,
                kernels=kernels,
                npu=npu,
                vector=npu,
            )
            step = AccumulatingStep if self._accumulates else TrainingStep
            self._step = step(self._cell, network.num_classes, settings, self._plan.ranks, npu=npu)
            self._fed_step = self._feed.cell(self._step)
            if isinstance(start, TrainerState):
                self._restore(start)
        # MindSpore forgets which graphs it has compiled whenever a compiled cell is collected as garbage, and would
        # compile this one again at its first step. Collect the cells of earlier trainings first.
        gc.collect()
        with timed(self.phases, "compile"), mindspore_errors():
            if compiles:
                self._compile()

    def steps(self, epoch: int, steps: range) -> Iterator[StepReport]:
        """Take these steps of an epoch; yield their reports, each some steps later.

        Args:
            epoch: The epoch, counted from 0.
            steps: Steps of the epoch, counted from 0.

        Raises:
            TrainingDivergedError: The loss is not finite.
            DataError: An image cannot be read.
            TrainingError: MindSpore fails (see `mindspore_errors`).
        """
        pending: list[_PendingStep] = []
        read_at = time.monotonic()
        with self._feed.prepared(self._tensors(epoch, steps)) as batches:
            for step in steps:
                parts = list(islice(batches, self._plan.accumulated))
                with mindspore_errors():
                    pending.append(self._take(epoch * self.steps_per_epoch + step, parts))
                    late = time.monotonic() > read_at + SECONDS_BETWEEN_READS
                    if late or len(pending) == STEPS_BETWEEN_READS or step == steps[-1]:
                        reports = [each.report() for each in pending]
                        read_at, pending = time.monotonic(), []
                    else:
                        reports = []
                yield from reports

    def whole_step(self) -> Cell:
        """Return the cell that takes a whole step in one call; `inputs` yields its arguments.

        Raises:
            ConfigurationError: A step is not one graph: gradients are accumulated, or steps may be skipped.
        """
        if self._accumulates:
            raise ConfigurationError(
                "steps cannot be sunk if gradients are accumulated or the loss scale is dynamic; leave `sink_steps` "
                "out, or train on more devices and with a fixed scale"
            )
        return self._fed_step

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of what `inputs` yields: those of a batch, three numbers, and the dropout mask if there is dropout."""
        mask = ("mask",) if self._settings.dropout else ()
        return (*self._feed.names, "learning_rate", "loss_scale", "ema_decay", *mask)

    def inputs(self, epoch: int, steps: range) -> Iterator[Arrays]:
        """Yield the arguments of `whole_step` for these steps."""
        for step, (batch, mask) in zip(steps, self._micro_batches(epoch, steps), strict=True):
            position = epoch * self.steps_per_epoch + step
            numbers = (self.learning_rates[position], self._loss_scale.value, ema_decay(self._settings.ema, position))
            yield *batch, *(np.asarray(number, np.float32) for number in numbers), *mask

    def state(self) -> TrainerState:
        """Return a copy of everything that the next step depends on, other than the seed."""
        with mindspore_errors():
            return TrainerState(
                weights=self.weights(),
                ema=self.ema(),
                slots={slot.name: slot.asnumpy().copy() for slot in self._slots()},
                loss_scale=self._loss_scale.value,
                good_steps=self._loss_scale.good_steps,
            )

    @property
    def loss_scale(self) -> float:
        """The loss scale of the next step."""
        return self._loss_scale.value

    def weights(self) -> dict[str, FloatArray]:
        """Return copies of the weights and the batch-norm statistics."""
        from mnas.network.weight_vector import named_arrays

        return named_arrays(self._cell)

    def ema(self) -> dict[str, FloatArray] | None:
        """Return copies of their moving averages, None if the settings have none."""
        return self._step.update.average.values() if self._settings.ema else None

    def evaluated(self) -> dict[str, FloatArray]:
        """Return copies of the weights to evaluate: the moving averages if there are some.

        Their batch-norm statistics are measured again on `norm_batches` of the settings, unless those are 0.

        Raises:
            DataError: An image of these batches cannot be read.
            TrainingError: MindSpore fails (see `mindspore_errors`).
        """
        weights = self.ema() or self.weights()
        return self._norms.measured(weights) if self._settings.norm_batches else weights

    def _restore(self, state: TrainerState) -> None:
        # Only before the graphs have run: given new data later, each of the two graphs would use an array of its own.
        _assign(self._slots(), state.slots, "optimizer slots")
        self._restore_averages(state.ema or {})
        self._loss_scale.value, self._loss_scale.good_steps = state.loss_scale, state.good_steps

    def _tensors(self, epoch: int, steps: range) -> Generator[_MicroBatch, None, None]:
        """Yield the arrays of a micro-batch, and its dropout mask if there is one, as tensors."""
        from mindspore import Tensor

        for arrays in self._micro_batches(epoch, steps):
            with mindspore_errors():
                batch, mask = (tuple(Tensor(array) for array in part) for part in arrays)
            yield batch, mask

    def _micro_batches(self, epoch: int, steps: range) -> Iterator[tuple[Arrays, Arrays]]:
        wanted = self._plan.micro_batches_of(steps)
        batches = self._feed.batches(self._plan.micro_batch_size, seed=self._seed, epoch=epoch, batches=wanted)
        for micro_batch, batch in zip(wanted, batches, strict=True):
            mask: Arrays = ()
            if self._settings.dropout:
                rate, shape = self._settings.dropout, self._mask_shape
                mask = (dropout_mask(rate, shape, seed=self._seed, epoch=epoch, micro_batch=micro_batch),)
            yield batch, mask

    def _take(self, position: int, parts: list[_MicroBatch]) -> _PendingStep:
        from mindspore import Tensor

        rate = self.learning_rates[position]
        scale = self._loss_scale.value
        learning_rate, loss_scale, decay = (
            Tensor(np.float32(value)) for value in (rate, scale, ema_decay(self._settings.ema, position))
        )
        if not self._accumulates:
            ((batch, mask),) = parts
            loss = self._fed_step(*batch, learning_rate, loss_scale, decay, *mask)
            return _PendingStep(position, float(rate), [loss])
        results = [self._fed_step(*batch, loss_scale, *mask) for batch, mask in parts]
        # Reading a flag waits for the device, so it is read for a dynamic scale only.
        skipped = self._loss_scale.is_dynamic and not all(bool(finite.asnumpy()) for _, finite in results)
        factor = Tensor(np.float32(1 / (scale * len(results))))
        self._step.finish(factor, learning_rate, decay, Tensor(skipped))
        self._loss_scale.step_taken(skipped=skipped)
        return _PendingStep(position, float(rate), [loss for loss, _ in results], skipped)

    def _compile(self) -> None:
        # On placeholder arrays of the right shape, so that the time to compile does not include reading data.
        from mindspore import Tensor

        batch = [Tensor(array) for array in self._feed.placeholders(self._plan.micro_batch_size)]
        number = Tensor(np.float32(1))
        mask = (Tensor(np.ones(self._mask_shape, np.float32)),) if self._settings.dropout else ()
        if self._accumulates:
            self._fed_step.compile(*batch, number, *mask)
            self._step.finish.compile(number, number, number, Tensor(False))
        else:
            self._fed_step.compile(*batch, number, number, number, *mask)

    def _slots(self) -> list[Parameter]:
        return list(self._step.update.optimizer.get_parameters())

    def _restore_averages(self, values: Weights) -> None:
        from mnas.network.weight_vector import parameter_specs

        specs = parameter_specs(self._cell) if self._settings.ema else ()
        _check_same({spec.name: spec.shape for spec in specs}, values, "moving averages")
        if specs:
            self._step.update.average.restore(values)


@dataclass(frozen=True)
class _PendingStep:
    """A step that has been taken, and whose losses have not been read from the device."""

    position: int
    learning_rate: float
    losses: list[Tensor]
    skipped: bool = False

    def report(self) -> StepReport:
        loss = float(np.mean([loss.asnumpy() for loss in self.losses]))
        if not (np.isfinite(loss) or self.skipped):
            raise TrainingDivergedError(self.position, loss)
        return StepReport(self.position, loss, self.learning_rate, self.skipped)


def _classifier_inputs(network: LoweredNetwork) -> int:
    (classifier,) = (layer for layer in network.layers() if isinstance(layer, Dense))
    return classifier.in_features


def _assign(parameters: Iterable[Parameter], values: Mapping[str, npt.NDArray[np.generic]], what: str) -> None:
    from mindspore import Tensor

    named = {parameter.name: parameter for parameter in parameters}
    _check_same({name: parameter.shape for name, parameter in named.items()}, values, what)
    for name, parameter in named.items():
        parameter.set_data(Tensor(values[name]))


def _check_same(
    shapes: Mapping[str, tuple[int, ...]], values: Mapping[str, npt.NDArray[np.generic]], what: str
) -> None:
    if differing := sorted(shapes.keys() ^ values.keys()):
        raise WeightsError(
            f"the {what} are those of another training: {differing[0]!r} is not in both; resume with the same settings"
        )
    for name, shape in shapes.items():
        if shape != values[name].shape:
            raise WeightsError(
                f"the {what} are those of another training: {name!r} has shape {values[name].shape}, not "
                f"{shape}; resume with the same settings"
            )
