# mypy: allow-subclassing-any
"""One training step as MindSpore graphs: forward, loss, backward, optimizer, moving average.

`TrainingStep` is one graph that takes one batch. `AccumulatingStep` is two graphs, one that adds up gradients and one
that applies them, for batches that do not fit the device and for steps that may be skipped.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

from collections.abc import Iterable

import mindspore
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, amp, nn, ops

from mnas.network import operators
from mnas.network.weight_vector import (
    KernelNetwork,
    OneVectorNetwork,
    VectorNetwork,
    join_vector,
    parameter_specs,
    split_vector,
)
from mnas.network.weights import FloatArray, Weights
from mnas.training.optimizers import create_optimizer
from mnas.training.parameter_vector import Concatenate, SubtractFrom
from mnas.training.settings import FixedLossScale, TrainingSettings
from search_space.counting import ParameterSpec


class TrainingStep(nn.Cell):
    """A cell that takes one step on a batch and returns its mean loss before the update.

    The loss is the cross entropy with smoothed labels; weight decay is in the gradients only. `npu` says whether an NPU
    computes.
    """

    def __init__(
        self,
        network: nn.Cell,
        num_classes: int,
        settings: TrainingSettings,
        processes: int = 1,
        *,
        npu: bool = False,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.scaled = settings.loss_scale != FixedLossScale(scale=1.0)  # a scale of 1 needs no operators in the graph
        self.gradients = Gradients(network, num_classes, settings, scaled=self.scaled, npu=npu)
        self.update = Update(network, settings, processes, npu=npu)
        self.set_train()

    def construct(
        self,
        images: Tensor,
        labels: Tensor,
        learning_rate: Tensor,
        loss_scale: Tensor,
        ema_decay: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Take one step.

        Args:
            images: Images (N, C, H, W).
            labels: int32 labels (N,).
            learning_rate: Learning rate, shape ().
            loss_scale: Loss scale, shape ().
            ema_decay: Decay of the moving average, shape ().
            mask: Factors of the classifier's inputs (N, features), or None.

        Returns:
            The mean loss of the batch, shape ().
        """
        loss, gradient = self.gradients(images, labels, loss_scale, mask)
        factor = 1.0 / loss_scale if self.scaled else None
        return ops.depend(loss, self.update(gradient, factor, learning_rate, ema_decay))


class AccumulatingStep(nn.Cell):
    """A cell that adds up the gradients of the parts of a batch; `finish` then takes the step and resets the sum."""

    def __init__(
        self,
        network: nn.Cell,
        num_classes: int,
        settings: TrainingSettings,
        processes: int = 1,
        *,
        npu: bool = False,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.gradients = Gradients(network, num_classes, settings, scaled=True, npu=npu)
        self.update = Update(network, settings, processes, npu=npu)
        self.total = Parameter(Tensor(np.zeros(self.update.size), mindspore.float32), name="accumulated")
        self.finish = _UpdateFromTotal(self.total, self.update)
        self.processes = processes
        self.npu = npu
        if processes > 1:
            self.add_up = ops.AllReduce()
        self.set_train()

    def construct(
        self, images: Tensor, labels: Tensor, loss_scale: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of a part of a batch.

        Args:
            images: Images (N, C, H, W).
            labels: int32 labels (N,).
            loss_scale: Loss scale, shape ().
            mask: Factors of the classifier's inputs (N, features), or None.

        Returns:
            The mean loss of the part, and whether all its gradients are finite in every process.
        """
        loss, gradient = self.gradients(images, labels, loss_scale, mask)
        # 0 if all are finite; 1 or more, or NaN, in every process if one is not. A 910A saturates: an overflow leaves
        # finite numbers there, and is seen in a register that MindSpore reads.
        doubt = 1.0 - amp.all_finite((gradient,)).astype(mindspore.float32) if self.npu else ops.sum(gradient * 0.0)
        if self.processes > 1:
            doubt = self.add_up(doubt)
        return ops.depend(loss, ops.assign_add(self.total, gradient)), ops.equal(doubt, 0.0)


class _UpdateFromTotal(nn.Cell):
    def __init__(self, total: Parameter, update: Update) -> None:
        super().__init__(auto_prefix=False)
        self.total = total
        self.update = update

    def construct(self, factor: Tensor, learning_rate: Tensor, ema_decay: Tensor, skip: Tensor) -> Tensor:
        """Update with `factor` times the total, unless `skip`; then set the total to zero."""
        done = factor
        if not skip:
            done = ops.depend(factor, self.update(self.total, factor, learning_rate, ema_decay))
        return ops.assign(self.total, ops.depend(ops.zeros_like(self.total), done))


class Gradients(nn.Cell):
    """A cell that returns the mean loss of images, and its gradient as one vector, times the loss scale if `scaled`."""

    def __init__(
        self,
        network: nn.Cell,
        num_classes: int,
        settings: TrainingSettings,
        *,
        scaled: bool,
        npu: bool,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = SmoothedCrossEntropy(num_classes, settings.label_smoothing, npu=npu)
        self.scaled = scaled
        self.weights = ParameterTuple(network.trainable_params())
        self.vector = isinstance(network, VectorNetwork)
        if isinstance(network, VectorNetwork):
            # By the parts of the vector. By the vector itself, MindSpore compiles several times as long.
            positions = tuple(range(4, 4 + len(network.sizes)))
            self.differentiate = ops.value_and_grad(self._losses_of_weights, positions, None, has_aux=True)
        else:
            self.differentiate = ops.value_and_grad(self._losses, None, self.weights, has_aux=True)
        self.concatenate = Concatenate()

    def _losses(self, images: Tensor, labels: Tensor, loss_scale: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        logits = self.network(images) if mask is None else self.network(images, mask)
        loss = self.loss(logits, labels)
        return loss * loss_scale if self.scaled else loss, loss

    def _losses_of_weights(
        self, images: Tensor, labels: Tensor, loss_scale: Tensor, mask: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss = self.loss(self.network.logits(images, mask, weights), labels)
        return loss * loss_scale if self.scaled else loss, loss

    def construct(
        self, images: Tensor, labels: Tensor, loss_scale: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss, shape (), and the gradient with respect to all weights, shape (n,)."""
        if self.vector:
            (_, loss), gradients = self.differentiate(images, labels, loss_scale, mask, *self.network.weights())
        else:
            (_, loss), gradients = self.differentiate(images, labels, loss_scale, mask)
        return loss, self.concatenate(gradients)


class Update(nn.Cell):
    """A cell that changes the weights: mean over processes, clipping, weight decay, optimizer, moving average."""

    def __init__(self, network: nn.Cell, settings: TrainingSettings, processes: int, *, npu: bool) -> None:
        super().__init__(auto_prefix=False)
        self.weights = ParameterTuple(network.trainable_params())
        trained = [spec for spec in parameter_specs(network) if spec.trainable]
        sizes = [spec.size for spec in trained]
        self.size = sum(sizes)
        self.optimizer = create_optimizer(settings.optimizer, self.size)
        decays = [
            settings.weight_decay if settings.weight_decay_on == "all" or len(spec.shape) > 1 else 0.0
            for spec in trained
        ]
        self.decayed = any(decays)
        # One number instead of a vector of 13 MB if it is the same for all weights.
        self.decays = Tensor(decays[0] if len(set(decays)) == 1 else np.repeat(decays, sizes), mindspore.float32)
        self.vector = isinstance(network, OneVectorNetwork)
        if not self.vector:
            self.concatenate = Concatenate()
            self.subtract = SubtractFrom(self.weights)
        self.clip_norm = settings.clip_norm
        self.processes = processes
        if processes > 1:
            self.add_up = ops.AllReduce()
        self.averaged = settings.ema is not None
        if settings.ema is not None:
            self.average = MovingAverage(network, npu=npu)

    def construct(self, gradient: Tensor, factor: Tensor | None, learning_rate: Tensor, ema_decay: Tensor) -> Tensor:
        """Update the weights with the gradient, times `factor` if it is not None."""
        if factor is not None:
            gradient = gradient * factor
        if self.processes > 1:
            gradient = self.add_up(gradient) / self.processes
        if self.clip_norm is not None:
            norm = ops.sqrt(ops.sum(gradient * gradient))
            gradient = gradient * (self.clip_norm / ops.maximum(norm, self.clip_norm))
        if self.vector:
            weights = self.weights[0]
        else:
            weights = self.concatenate(self.weights) if self.decayed or self.averaged else None
        if self.decayed:
            gradient = gradient + self.decays * weights
        step = self.optimizer(learning_rate, gradient)
        # Computed before the update: weights that are read again after it are copied on an NPU.
        new = weights - step if self.vector or self.averaged else None
        if self.vector:
            updated = ops.assign(self.weights[0], new)
        else:
            updated = self.subtract(step if weights is None else ops.depend(step, weights))
        if self.averaged:
            return self.average(ema_decay, new, updated)
        return updated


class MovingAverage(nn.Cell):
    """A moving average of all parameters of a network, batch-norm statistics included; it starts as a copy.

    average <- average + (1 - decay) (parameter - average)

    Attributes:
        weights: The averages of the weights as one vector, in their order.
        statistics: Those of the batch-norm statistics.
    """

    def __init__(self, network: nn.Cell, *, npu: bool) -> None:
        super().__init__(auto_prefix=False)
        self.specs = parameter_specs(network)
        self.moving = ParameterTuple([each for each in network.get_parameters() if not each.requires_grad])
        self.weights = _average("ema.weights", network.trainable_params())
        self.statistics = _average("ema.statistics", self.moving)
        self.concatenate = Concatenate()
        self.assign_add = operators.assign_add(npu=npu)
        # MindSpore knows that its own operators change the statistics, and would copy each of them for a `depend`.
        self.waits = isinstance(network, KernelNetwork)

    def construct(self, decay: Tensor, weights: Tensor, updated: Tensor) -> Tensor:
        """Include the new weights, as one vector, and the statistics in the average, after `updated`."""
        share = 1.0 - ops.depend(decay, updated)
        moving = ops.depend(self.moving, updated) if self.waits else self.moving
        statistics = self.concatenate(moving)
        done = self.assign_add(self.weights, share * (weights - self.weights))
        return ops.depend(self.assign_add(self.statistics, share * (statistics - self.statistics)), done)

    def values(self) -> dict[str, FloatArray]:
        """Return copies of the averages by the names of the parameters."""
        parts: dict[str, FloatArray] = {}
        for average, trained in ((self.weights, True), (self.statistics, False)):
            parts |= split_vector(average.asnumpy(), self._specs(trained))
        return {spec.name: parts[spec.name] for spec in self.specs}

    def restore(self, values: Weights) -> None:
        """Set the averages, by the names of the parameters."""
        for average, trained in ((self.weights, True), (self.statistics, False)):
            average.set_data(Tensor(join_vector(values, self._specs(trained))))

    def _specs(self, trained: bool) -> list[ParameterSpec]:
        return [spec for spec in self.specs if spec.trainable == trained]


def _average(name: str, parameters: Iterable[Parameter]) -> Parameter:
    start = np.concatenate([parameter.asnumpy().ravel() for parameter in parameters])
    return Parameter(Tensor(start, mindspore.float32), name=name, requires_grad=False)


class SmoothedCrossEntropy(nn.Cell):
    """Mean cross entropy with smoothed labels: a share `smoothing` of the target is spread over all classes."""

    def __init__(self, num_classes: int, smoothing: float, *, npu: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.off = Tensor(smoothing / num_classes, mindspore.float32)
        self.on = Tensor(1 - smoothing + smoothing / num_classes, mindspore.float32)
        self.one_hot = operators.one_hot(npu=npu)
        self.cross_entropy = operators.cross_entropy(npu=npu)

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, shape (), of logits (N, classes) and labels (N,)."""
        targets = self.one_hot(labels, self.num_classes, self.on, self.off)
        return self.cross_entropy(logits, targets)
