"""What a training step is given beside images and learning rate: a function of the settings and the step alone.

A training that is resumed, or divided among more processes, gets the same.
"""

from __future__ import annotations

import numpy as np

from mnas.network.weights import FloatArray
from mnas.training_settings import Ema

_MASK_STREAM = 3  # keeps these draws apart from those of order and augmentation (mnas.data)


def ema_decay(settings: Ema | None, step: int) -> float:
    """Return the decay of the moving average after step `step`, counted from 0; 0 where there is none."""
    if settings is None:
        return 0.0
    updates = step + 1
    return min(settings.decay, (1 + updates) / (10 + updates)) if settings.ramp else settings.decay


def dropout_mask(rate: float, shape: tuple[int, int], *, seed: int, epoch: int, micro_batch: int) -> FloatArray:
    """Draw what the classifier's inputs are multiplied with: 0 with probability `rate`, else 1 / (1 - rate).

    Drawn here, not on the device, whose random state could not be restored when a training is resumed. `micro_batch`
    counts from the start of the epoch.
    """
    generator = np.random.default_rng([seed, epoch, _MASK_STREAM, micro_batch])
    kept = generator.random(shape, np.float32) >= rate
    return kept * np.float32(1 / (1 - rate))
