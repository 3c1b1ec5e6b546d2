"""The learning rate of every training step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnas.training_settings import Constant, Cosine, Staircase, TrainingSettings


def learning_rates(settings: TrainingSettings, steps_per_epoch: int) -> NDArray[np.float32]:
    """Return the learning rate of each step, shape (epochs x steps_per_epoch,).

    During the warm-up, step i = 0, 1, ... of w has (i + 1) / w of the peak, or i / w with `warmup_from_zero`.
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
