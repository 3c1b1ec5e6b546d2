# mypy: allow-subclassing-any
"""One training step as one MindSpore graph: forward, loss, backward, optimizer.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

import mindspore
from mindspore import ParameterTuple, Tensor, nn, ops

from mnas.kernels.optimizer import FusedRmsProp
from mnas.optimizers import create_optimizer
from mnas.training_settings import RmsProp, TrainingSettings


class TrainingStep(nn.Cell):
    """Takes images (N, C, H, W), int32 labels (N,) and the learning rate (); returns the mean loss before the update.

    The loss is the cross entropy with smoothed labels; weight decay is in the gradients only. `kernels` lets
    `mnas.kernels` take the optimizer's step where they have it.
    """

    def __init__(
        self, network: nn.Cell, num_classes: int, settings: TrainingSettings, *, kernels: bool = False
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = SmoothedCrossEntropy(num_classes, settings.label_smoothing)
        self.weights = ParameterTuple(network.trainable_params())
        self.decays = tuple(
            settings.weight_decay if settings.weight_decay_on == "all" or parameter.ndim > 1 else 0.0
            for parameter in self.weights
        )
        self.decayed = any(self.decays)
        if kernels and isinstance(settings.optimizer, RmsProp):
            self.optimizer = FusedRmsProp(settings.optimizer, self.weights, self.decays)
            self.decayed = False  # again: the fused step has done it
        else:
            self.optimizer = create_optimizer(settings.optimizer, self.weights)
        self.clip_norm = settings.clip_norm
        self.map = ops.HyperMap()
        self.loss_and_gradients = ops.value_and_grad(self._loss_of, None, self.weights)
        self.set_train()

    def _loss_of(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.loss(self.network(images), labels)

    def construct(self, images: Tensor, labels: Tensor, learning_rate: Tensor) -> Tensor:
        """Take one step."""
        loss, gradients = self.loss_and_gradients(images, labels)
        if self.clip_norm is not None:
            gradients = ops.clip_by_global_norm(gradients, self.clip_norm)
        if self.decayed:
            gradients = self.map(_add_decay, self.decays, self.weights, gradients)
        return ops.depend(loss, self.optimizer(learning_rate, gradients))


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


def _add_decay(decay: float, weight: Tensor, gradient: Tensor) -> Tensor:
    return gradient + decay * weight if decay > 0 else gradient
