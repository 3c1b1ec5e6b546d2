# mypy: allow-subclassing-any
"""One training step as MindSpore graphs: forward, loss, backward, optimizer, moving average.

`TrainingStep` is one graph that takes one batch. `AccumulatingStep` is two, one that adds up gradients and one that
applies them, for batches that do not fit the device and for steps that may be skipped.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

import mindspore
from mindspore import ParameterTuple, Tensor, nn, ops

from mnas.optimizers import create_optimizer
from mnas.training_settings import FixedLossScale, TrainingSettings


class TrainingStep(nn.Cell):
    """Takes a batch and returns its mean loss before the update.

    The inputs are images (N, C, H, W), int32 labels (N,), the learning rate, the loss scale and the decay of the moving
    average, each of shape (), and a mask of the classifier's inputs (N, features) or nothing. The loss is the cross
    entropy with smoothed labels; weight decay is in the gradients only.
    """

    def __init__(self, network: nn.Cell, num_classes: int, settings: TrainingSettings, processes: int = 1) -> None:
        super().__init__(auto_prefix=False)
        self.gradients = Gradients(network, num_classes, settings)
        self.update = Update(network, settings, processes)
        # A graph without these multiplications compiles faster; children have no use for them.
        self.scaled = settings.loss_scale != FixedLossScale(scale=1.0)
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
        """Take one step."""
        loss, gradients = self.gradients(images, labels, loss_scale, mask)
        factor = 1.0 / loss_scale if self.scaled else None
        return ops.depend(loss, self.update(gradients, factor, learning_rate, ema_decay))


class AccumulatingStep(nn.Cell):
    """Called with a part of a batch, adds up its gradients; `apply` then takes the step and starts anew.

    Takes images, labels, the loss scale and a dropout mask or nothing, as `TrainingStep`; returns the part's mean loss
    and whether all its gradients are finite, in every process.
    """

    def __init__(self, network: nn.Cell, num_classes: int, settings: TrainingSettings, processes: int = 1) -> None:
        super().__init__(auto_prefix=False)
        self.gradients = Gradients(network, num_classes, settings)
        self.sums = self.gradients.weights.clone("accumulated", "zeros")
        self.update = Update(network, settings, processes)
        self.apply = _UpdateFromSums(self.sums, self.update)
        self.map = ops.HyperMap()
        self.processes = processes
        if processes > 1:
            self.add_up = ops.AllReduce()
        self.set_train()

    def construct(
        self, images: Tensor, labels: Tensor, loss_scale: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of some images."""
        loss, gradients = self.gradients(images, labels, loss_scale, mask)
        added = self.map(ops.assign_add, self.sums, gradients)
        # A sum with a number that is not finite is not finite either; multiplied with 0 it becomes NaN.
        doubt = ops.addn(self.map(_doubt, gradients))
        if self.processes > 1:
            doubt = self.add_up(doubt)
        return ops.depend(loss, added), ops.isfinite(doubt)


class _UpdateFromSums(nn.Cell):
    def __init__(self, sums: ParameterTuple, update: Update) -> None:
        super().__init__(auto_prefix=False)
        self.sums = sums
        self.update = update
        self.map = ops.HyperMap()

    def construct(self, factor: Tensor, learning_rate: Tensor, ema_decay: Tensor, skip: Tensor) -> Tensor:
        """Update with `factor` times the sums, unless `skip`; set them to zero."""
        done = factor
        if not skip:
            done = ops.depend(factor, self.update(self.sums, factor, learning_rate, ema_decay))
        return ops.depend(done, self.map(ops.partial(_set_to_zero, done), self.sums))


class Gradients(nn.Cell):
    """Returns the mean loss of some images and the gradients of the trainable weights, multiplied by the loss scale."""

    def __init__(self, network: nn.Cell, num_classes: int, settings: TrainingSettings) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = SmoothedCrossEntropy(num_classes, settings.label_smoothing)
        self.weights = ParameterTuple(network.trainable_params())
        self.differentiate = ops.value_and_grad(self._losses, None, self.weights, has_aux=True)

    def _losses(self, images: Tensor, labels: Tensor, loss_scale: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        logits = self.network(images) if mask is None else self.network(images, mask)
        loss = self.loss(logits, labels)
        return loss * loss_scale, loss

    def construct(
        self, images: Tensor, labels: Tensor, loss_scale: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Go forward and back."""
        (_, loss), gradients = self.differentiate(images, labels, loss_scale, mask)
        return loss, gradients


class Update(nn.Cell):
    """Takes gradients and changes the weights: mean over processes, clipping, decay, optimizer, moving average."""

    def __init__(self, network: nn.Cell, settings: TrainingSettings, processes: int) -> None:
        super().__init__(auto_prefix=False)
        self.weights = ParameterTuple(network.trainable_params())
        self.optimizer = create_optimizer(settings.optimizer, self.weights)
        self.decays = tuple(
            settings.weight_decay if settings.weight_decay_on == "all" or parameter.ndim > 1 else 0.0
            for parameter in self.weights
        )
        self.decayed = any(self.decays)
        self.clip_norm = settings.clip_norm
        self.processes = processes
        if processes > 1:
            self.mean = nn.DistributedGradReducer(self.weights, mean=True, degree=processes)
        self.averaged = settings.ema is not None
        if settings.ema is not None:
            self.average = MovingAverage(network)
        self.map = ops.HyperMap()

    def construct(
        self, gradients: tuple[Tensor, ...], factor: Tensor | None, learning_rate: Tensor, ema_decay: Tensor
    ) -> Tensor:
        """Update with the gradients, times `factor` if there is one."""
        if factor is not None:
            gradients = self.map(ops.partial(_multiply, factor), gradients)
        if self.processes > 1:
            gradients = self.mean(gradients)
        if self.clip_norm is not None:
            gradients = ops.clip_by_global_norm(gradients, self.clip_norm)
        if self.decayed:
            gradients = self.map(_add_decay, self.decays, self.weights, gradients)
        updated = self.optimizer(learning_rate, gradients)
        if self.averaged:
            updated = ops.depend(learning_rate, updated)
            return self.average(ops.depend(ema_decay, updated))
        return updated


class MovingAverage(nn.Cell):
    """Keeps a moving average of all parameters of a network, batch-norm statistics included; it starts as their copy.

    average <- decay average + (1 - decay) parameter
    """

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(network.get_parameters())
        self.averages = self.parameters.clone("ema", "same")
        for average in self.averages:
            average.requires_grad = False
        self.map = ops.HyperMap()

    def construct(self, decay: Tensor) -> Tensor:
        """Take the parameters as they are now into the average."""
        return self.map(ops.partial(_move, decay), self.averages, self.parameters)


class SmoothedCrossEntropy(nn.Cell):
    """Mean cross entropy of logits (N, classes) with labels (N,): a share `smoothing` is spread over all classes."""

    def __init__(self, num_classes: int, smoothing: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.off = Tensor(smoothing / num_classes, mindspore.float32)
        self.on = Tensor(1 - smoothing + smoothing / num_classes, mindspore.float32)
        self.one_hot = ops.OneHot()
        self.cross_entropy = ops.SoftmaxCrossEntropyWithLogits()
        self.mean = ops.ReduceMean()

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, shape ()."""
        targets = self.one_hot(labels, self.num_classes, self.on, self.off)
        return self.mean(self.cross_entropy(logits, targets)[0])


def _multiply(factor: Tensor, gradient: Tensor) -> Tensor:
    return gradient * factor


def _add_decay(decay: float, weight: Tensor, gradient: Tensor) -> Tensor:
    return gradient + decay * weight if decay > 0 else gradient


def _move(decay: Tensor, average: Tensor, parameter: Tensor) -> Tensor:
    return ops.assign_add(average, (1.0 - decay) * (parameter - average))


def _doubt(gradient: Tensor) -> Tensor:
    return ops.sum(gradient * 0.0)


def _set_to_zero(done: Tensor, total: Tensor) -> Tensor:
    return ops.assign(total, ops.depend(ops.zeros_like(total), done))
