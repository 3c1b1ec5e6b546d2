"""What a user writes about training: optimizer, learning-rate schedule and regularisation.

The same settings describe the few epochs of a child and the hundreds of a full training. msgspec checks types and
ranges, and names the path of a wrong value.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mnas.mindspore_setup import Precision

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class RmsProp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="rmsprop"):
    """RMSProp as in TensorFlow, the MnasNet paper (section 5) and MindSpore.

    s <- decay s + (1 - decay) g^2;  v <- momentum v + learning_rate g / sqrt(s + epsilon);  w <- w - v

    initial_square: the first s. TensorFlow 1 (`RMSPropOptimizer`) and MindSpore (`nn.RMSProp`) start at 1, PyTorch and
        Keras at 0.
    epsilon_in_root: whether epsilon stands under the root, as in TensorFlow and MindSpore, or beside it, as in PyTorch:
        sqrt(s) + epsilon. With epsilon 1e-3 the two differ greatly where gradients are small.
    """

    decay: Share = 0.9
    momentum: Share = 0.9
    epsilon: Positive = 1e-3
    initial_square: NonNegative = 1.0
    epsilon_in_root: bool = True


class Sgd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="sgd"):
    """Stochastic gradient descent with momentum: v <- momentum v + g;  w <- w - learning_rate v."""

    momentum: Share = 0.9


class Adam(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="adam"):
    """Adam (Kingma and Ba, arXiv 1412.6980), in the form of the end of its section 2 ("epsilon hat")."""

    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Positive = 1e-8


Optimizer = RmsProp | Sgd | Adam


class Constant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="constant"):
    """The learning rate stays, after a linear warm-up over `warmup_epochs`."""

    warmup_epochs: NonNegative = 0.0
    warmup_from_zero: bool = False


class Cosine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="cosine"):
    """Half a cosine from the learning rate down to `final`, over the epochs that the warm-up leaves."""

    warmup_epochs: NonNegative = 0.0
    warmup_from_zero: bool = False
    final: NonNegative = 0.0


class Staircase(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="staircase"
):
    """Times `factor` after every `every_epochs`, counted from the start; the paper's: 5 warm-up epochs, 0.97, 2.4."""

    warmup_epochs: NonNegative = 5.0
    warmup_from_zero: bool = False
    factor: Annotated[float, Meta(gt=0, le=1)] = 0.97
    every_epochs: Positive = 2.4


# `warmup_from_zero`: of w warm-up steps, step i = 0, 1, ... has i / w of the peak, as in MindCV and in MnasNet's own
# code; otherwise (i + 1) / w, which loses no step to a learning rate of 0.
Schedule = Constant | Cosine | Staircase


class Ema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An exponential moving average of weights and batch-norm statistics, for evaluation; decay .9999 in the paper.

    ramp: the decay of update t = 1, 2, ... is at most (1 + t) / (10 + t), as in TensorFlow where it is given the number
        of updates (MnasNet's code does): early averages then forget the initial weights.
    """

    decay: Share = 0.9999
    ramp: bool = True


class FixedLossScale(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="fixed"
):
    """The loss is multiplied by `scale` before the gradients are taken, and they are divided by it."""

    scale: Annotated[float, Meta(ge=1)] = 1.0


class DynamicLossScale(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="dynamic"
):
    """A loss scale that halves, and skips the step, where a gradient is not finite; doubles after `growth_steps`."""

    initial_scale: Annotated[float, Meta(ge=1)] = 65536.0
    growth_steps: Annotated[int, Meta(ge=1)] = 2000


LossScale = FixedLossScale | DynamicLossScale


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a network is trained.

    batch_size: images between two updates of the weights, over all devices and accumulated gradients.
    learning_rate: the schedule's peak, for this batch size.
    label_smoothing: share of the target spread evenly over all classes.
    weight_decay: this times the weights is added to the gradients before the optimizer sees them.
    weight_decay_on: "kernels" spares batch norms and biases, as the paper does; "all" spares nothing, as MindCV does.
    dropout: share of the classifier's inputs that is dropped.
    norm_momentum: share of the old moving statistics that batch norms keep at each step.
    clip_norm: gradients are scaled down where their global norm exceeds this; absent means never.
    ema: the moving average that is evaluated instead of the weights; absent means none.
    precision: what is computed in float16, by MindSpore's names: O0 nothing, O1 convolutions and the classifier, O2 all
        but batch norms and the loss, O3 all but the loss. Weights and their updates are always float32.
    """

    epochs: Annotated[int, Meta(ge=1)]
    batch_size: Annotated[int, Meta(ge=2)] = 64
    learning_rate: Positive
    optimizer: Optimizer = RmsProp()
    schedule: Schedule = Cosine()
    label_smoothing: Share = 0.0
    weight_decay: NonNegative = 0.0
    weight_decay_on: Literal["kernels", "all"] = "kernels"
    dropout: Share = 0.0
    norm_momentum: Share = 0.99
    clip_norm: Positive | None = None
    ema: Ema | None = None
    loss_scale: LossScale = FixedLossScale()
    precision: Precision = "O0"

    def __post_init__(self) -> None:
        """Raise ValueError where the warm-up would fill the whole training."""
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"`warmup_epochs` is {self.schedule.warmup_epochs:g} of {self.epochs} epochs; it must be less"
            )
