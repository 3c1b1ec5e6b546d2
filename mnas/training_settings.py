"""What a user writes about training: optimizer, learning-rate schedule and regularisation.

The same settings describe the few epochs of a child and the hundreds of a full training. msgspec checks types and
ranges, and names the path of a wrong value.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class RmsProp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="rmsprop"):
    """RMSProp as in TensorFlow and the MnasNet paper (section 5); epsilon stands under the root, s starts at 1.

    s <- decay s + (1 - decay) g^2;  v <- momentum v + learning_rate g / sqrt(s + epsilon);  w <- w - v
    """

    decay: Share = 0.9
    momentum: Share = 0.9
    epsilon: Positive = 1e-3


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


class Cosine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="cosine"):
    """Half a cosine from the learning rate down to `final`, over the epochs that the warm-up leaves."""

    warmup_epochs: NonNegative = 0.0
    final: NonNegative = 0.0


class Staircase(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="staircase"
):
    """Times `factor` after every `every_epochs`, counted from the start; the paper's: 5 warm-up epochs, 0.97, 2.4."""

    warmup_epochs: NonNegative = 5.0
    factor: Annotated[float, Meta(gt=0, le=1)] = 0.97
    every_epochs: Positive = 2.4


Schedule = Constant | Cosine | Staircase


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a network is trained.

    learning_rate: the schedule's peak, for this batch size.
    label_smoothing: share of the target spread evenly over all classes.
    weight_decay: this times the weights is added to the gradients before the optimizer sees them.
    weight_decay_on: "kernels" spares batch norms and biases, as the paper does; "all" spares nothing, as MindCV does.
    dropout: share of the classifier's inputs that is dropped.
    norm_momentum: share of the old moving statistics that batch norms keep at each step.
    clip_norm: gradients are scaled down where their global norm exceeds this; absent means never.
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

    def __post_init__(self) -> None:
        """Raise ValueError where the warm-up would fill the whole training."""
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"`warmup_epochs` is {self.schedule.warmup_epochs:g} of {self.epochs} epochs; it must be less"
            )
