"""The training settings of a YAML file: optimizer, learning-rate schedule and regularisation.

The same settings describe the few epochs of a child and the hundreds of a full training. msgspec checks types and
ranges, and names the path of a wrong value.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mnas.mindspore_setup import Precision

PositiveFloat = Annotated[float, Meta(gt=0, le=1e9)]
NonNegativeFloat = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class RmsPropSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="rmsprop"
):
    """RMSProp as in TensorFlow, the MnasNet paper (section 5) and MindSpore.

    s <- decay s + (1 - decay) g^2;  v <- momentum v + learning_rate g / sqrt(s + epsilon);  w <- w - v

    Attributes:
        decay: Share of the old mean square s that each step keeps.
        momentum: Share of the old velocity v that each step keeps.
        epsilon: Added to the mean square, or to its root (see `epsilon_in_root`); prevents a division by 0.
        initial_square: The first s. TensorFlow 1 (`RMSPropOptimizer`) and MindSpore (`nn.RMSProp`) start at 1, PyTorch
            and Keras at 0.
        epsilon_in_root: Whether epsilon is added under the root, as in TensorFlow and MindSpore, or to the root, as in
            PyTorch: sqrt(s) + epsilon. With epsilon 1e-3 the two differ greatly if gradients are small.
    """

    decay: Share = 0.9
    momentum: Share = 0.9
    epsilon: PositiveFloat = 1e-3
    initial_square: NonNegativeFloat = 1.0
    epsilon_in_root: bool = True


class SgdSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="sgd"):
    """Stochastic gradient descent with momentum: v <- momentum v + g;  w <- w - learning_rate v.

    Attributes:
        momentum: Share of the old velocity v that each step keeps.
    """

    momentum: Share = 0.9


class AdamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="adam"):
    """Adam (Kingma and Ba, arXiv 1412.6980), in the form at the end of its section 2 ("epsilon hat").

    Attributes:
        beta1: Share of the old mean gradient that each step keeps.
        beta2: Share of the old mean square that each step keeps.
        epsilon: Added to the root of the mean square; prevents a division by 0.
    """

    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: PositiveFloat = 1e-8


Optimizer = RmsPropSettings | SgdSettings | AdamSettings


class Constant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="constant"):
    """A constant learning rate after a linear warm-up.

    Attributes:
        warmup_epochs: Epochs of the warm-up.
        warmup_from_zero: Whether the warm-up starts at 0, as in MindCV and in MnasNet's own code: of w warm-up steps,
            step i = 0, 1, ... has i / w of the peak. Otherwise it has (i + 1) / w, which loses no step to a learning
            rate of 0.
    """

    warmup_epochs: NonNegativeFloat = 0.0
    warmup_from_zero: bool = False


class Cosine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="cosine"):
    """Half a cosine from the learning rate down to `final`, over the epochs after a linear warm-up.

    Attributes:
        warmup_epochs: Epochs of the warm-up.
        warmup_from_zero: Whether the warm-up starts at 0, as in MindCV and in MnasNet's own code: of w warm-up steps,
            step i = 0, 1, ... has i / w of the peak. Otherwise it has (i + 1) / w, which loses no step to a learning
            rate of 0.
        final: The learning rate at the end.
    """

    warmup_epochs: NonNegativeFloat = 0.0
    warmup_from_zero: bool = False
    final: NonNegativeFloat = 0.0


class Staircase(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="staircase"
):
    """A learning rate that is multiplied by `factor` again and again, after a linear warm-up.

    The defaults are those of the MnasNet paper.

    Attributes:
        warmup_epochs: Epochs of the warm-up.
        warmup_from_zero: Whether the warm-up starts at 0, as in MindCV and in MnasNet's own code: of w warm-up steps,
            step i = 0, 1, ... has i / w of the peak. Otherwise it has (i + 1) / w, which loses no step to a learning
            rate of 0.
        factor: What the learning rate is multiplied by.
        every_epochs: Epochs between two multiplications, counted from the start of the training.
    """

    warmup_epochs: NonNegativeFloat = 5.0
    warmup_from_zero: bool = False
    factor: Annotated[float, Meta(gt=0, le=1)] = 0.97
    every_epochs: PositiveFloat = 2.4


Schedule = Constant | Cosine | Staircase


class Ema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An exponential moving average of weights and batch-norm statistics, for evaluation.

    Attributes:
        decay: Share of the old average that each step keeps; .9999 in the MnasNet paper.
        ramp: Whether the decay of update t = 1, 2, ... is at most (1 + t) / (10 + t), as in TensorFlow if it is given
            the number of updates (MnasNet's code does). Early averages then forget the initial weights.
    """

    decay: Share = 0.9999
    ramp: bool = True


class FixedLossScale(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="fixed"
):
    """A constant loss scale: the loss is multiplied by it, and its gradients are divided by it.

    Attributes:
        scale: The loss scale; 1 scales nothing.
    """

    scale: Annotated[float, Meta(ge=1, le=1e30)] = 1.0


class DynamicLossScale(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name", tag="dynamic"
):
    """A loss scale that adapts: a gradient that is not finite halves it and skips the step.

    Attributes:
        initial_scale: The first loss scale.
        growth_steps: Steps without a skipped one after which the scale doubles.
    """

    initial_scale: Annotated[float, Meta(ge=1, le=1e30)] = 65536.0
    growth_steps: Annotated[int, Meta(ge=1, le=10**9)] = 2000


LossScale = FixedLossScale | DynamicLossScale


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images between two updates of the weights, over all devices and accumulated gradients.
        learning_rate: The schedule's peak, for this batch size.
        optimizer: How a gradient changes the weights.
        schedule: The learning rate of every step.
        label_smoothing: Share of the target that is spread evenly over all classes.
        weight_decay: This times the weights is added to the gradients before the optimizer sees them.
        weight_decay_on: `kernels` spares batch norms and biases, as the MnasNet paper does; `all` spares nothing, as
            MindCV does.
        dropout: Share of the classifier's inputs that is dropped.
        norm_momentum: Share of the old moving statistics that batch norms keep at each step.
        norm_batches: Training batches on which the statistics of batch norms are measured again with the weights that
            are evaluated, whenever they are; 0: the moving statistics are evaluated, which lag behind the weights.
        clip_norm: Gradients are scaled down if their global norm exceeds this; absent: never.
        ema: The moving average that is evaluated instead of the weights; absent: none.
        loss_scale: The factor that keeps small gradients from becoming 0 in float16.
        precision: What is computed in float16, by MindSpore's names: O0 nothing, O1 convolutions and the classifier, O2
            all but batch norms and the loss, O3 all but the loss. Weights and their updates are always float32.
    """

    epochs: Annotated[int, Meta(ge=1, le=1_000_000)]
    batch_size: Annotated[int, Meta(ge=2, le=1_000_000)] = 64
    learning_rate: PositiveFloat
    optimizer: Optimizer = RmsPropSettings()
    schedule: Schedule = Cosine()
    label_smoothing: Share = 0.0
    weight_decay: NonNegativeFloat = 0.0
    weight_decay_on: Literal["kernels", "all"] = "kernels"
    dropout: Share = 0.0
    norm_momentum: Share = 0.99
    norm_batches: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    clip_norm: PositiveFloat | None = None
    ema: Ema | None = None
    loss_scale: LossScale = FixedLossScale()
    precision: Precision = "O0"

    def __post_init__(self) -> None:
        """Raise ValueError if the warm-up fills the whole training."""
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"`warmup_epochs` is {self.schedule.warmup_epochs:g} of {self.epochs} epochs; it must be less"
            )
