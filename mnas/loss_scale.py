"""The loss scale of a training, step by step."""

from __future__ import annotations

from mnas.errors import TrainingError
from mnas.training_settings import DynamicLossScale, FixedLossScale, LossScale

GROWTH = 2.0


class LossScaler:
    """The scale of the next step; `good_steps` counts the steps since it last changed."""

    def __init__(self, settings: LossScale) -> None:
        self.good_steps = 0
        match settings:
            case FixedLossScale(scale=scale):
                self.value, self._growth_steps = scale, None
            case DynamicLossScale(initial_scale=scale, growth_steps=growth_steps):
                self.value, self._growth_steps = scale, growth_steps

    @property
    def is_dynamic(self) -> bool:
        """Whether a step with gradients that are not finite is skipped."""
        return self._growth_steps is not None

    def step_taken(self, *, skipped: bool) -> None:
        """Adapt the scale. Raises TrainingError where it would fall below 1: then the training itself is at fault."""
        if self._growth_steps is None:
            return
        if skipped:
            if self.value / GROWTH < 1:
                raise TrainingError(
                    "training diverged: the gradients are not finite even at loss scale 1; lower the learning rate, or "
                    "use precision O0"
                )
            self.value, self.good_steps = self.value / GROWTH, 0
        elif self.good_steps + 1 == self._growth_steps:
            self.value, self.good_steps = self.value * GROWTH, 0
        else:
            self.good_steps += 1
