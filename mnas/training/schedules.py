"""What changes from step to step: learning rate, loss scale, decay of the moving average, dropout mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnas.errors import TrainingError
from mnas.network.weights import FloatArray
from mnas.training.settings import (
    Constant,
    Cosine,
    DynamicLossScale,
    Ema,
    FixedLossScale,
    LossScale,
    Staircase,
    TrainingSettings,
)

LOSS_SCALE_FACTOR = 2.0
MASK_STREAM = 3  # keeps the draws of masks apart from those of order and augmentation (mnas.data)


def learning_rates(settings: TrainingSettings, steps_per_epoch: int) -> NDArray[np.float32]:
    """Return the learning rate of each step, shape (epochs x steps_per_epoch,).

    Step i = 0, 1, ... of w warm-up steps has (i + 1) / w of the peak, or i / w with `warmup_from_zero`.
    """
    steps = np.arange(settings.epochs * steps_per_epoch, dtype=np.float64)
    warmup_steps = round(settings.schedule.warmup_epochs * steps_per_epoch)
    peak = settings.learning_rate
    match settings.schedule:
        case Constant():
            rates = np.full_like(steps, peak)
        case Cosine(final=final):
            progress = (steps - warmup_steps) / max(1, len(steps) - warmup_steps)
            rates = final + (peak - final) * (1 + np.cos(np.pi * progress)) / 2
        case Staircase(factor=factor, every_epochs=every_epochs):
            rates = peak * factor ** np.floor(steps / (every_epochs * steps_per_epoch))
    first = 0 if settings.schedule.warmup_from_zero else 1
    warmup = peak * (steps + first) / max(1, warmup_steps)
    return np.where(steps < warmup_steps, warmup, rates).astype(np.float32)


class LossScaler:
    """The loss scale of the next step.

    Attributes:
        value: The scale.
        good_steps: Steps since a dynamic scale last changed.
    """

    def __init__(self, settings: LossScale) -> None:
        self.good_steps = 0
        match settings:
            case FixedLossScale(scale=scale):
                self.value, self._growth_steps = scale, None
            case DynamicLossScale(initial_scale=scale, growth_steps=growth_steps):
                self.value, self._growth_steps = scale, growth_steps

    @property
    def is_dynamic(self) -> bool:
        """Whether the scale adapts, and a step whose gradients are not finite is skipped."""
        return self._growth_steps is not None

    def step_taken(self, *, skipped: bool) -> None:
        """Adapt the scale to a step.

        Raises:
            TrainingError: The scale would fall below 1: the training itself has diverged.
        """
        if self._growth_steps is None:
            return
        if skipped:
            if self.value / LOSS_SCALE_FACTOR < 1:
                raise TrainingError(
                    "training diverged: the gradients are not finite even at loss scale 1; lower the learning rate, or "
                    "use precision O0"
                )
            self.value, self.good_steps = self.value / LOSS_SCALE_FACTOR, 0
        elif self.good_steps + 1 == self._growth_steps:
            self.value, self.good_steps = self.value * LOSS_SCALE_FACTOR, 0
        else:
            self.good_steps += 1


def ema_decay(settings: Ema | None, step: int) -> float:
    """Return the decay of the moving average after step `step`, counted from 0; 0 without a moving average."""
    if settings is None:
        return 0.0
    updates = step + 1
    return min(settings.decay, (1 + updates) / (10 + updates)) if settings.ramp else settings.decay


def dropout_mask(rate: float, shape: tuple[int, int], *, seed: int, epoch: int, micro_batch: int) -> FloatArray:
    """Draw the factors of the classifier's inputs: 0 with probability `rate`, otherwise 1 / (1 - rate).

    They are not drawn on the device because its random state cannot be restored when a training is resumed.

    Args:
        rate: Share of the inputs that is dropped.
        shape: Images and classifier inputs.
        seed: Seed of the training.
        epoch: The epoch, counted from 0.
        micro_batch: The micro-batch, counted from the start of the epoch.
    """
    generator = np.random.default_rng([seed, epoch, MASK_STREAM, micro_batch])
    kept = generator.random(shape, np.float32) >= rate
    return kept * np.float32(1 / (1 - rate))
