# mypy: allow-subclassing-any
"""RMSProp on all parameters in one operator.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import ParameterTuple, Tensor, nn

from mnas.kernels.operators import rmsprop
from mnas.training_settings import RmsProp


class FusedRmsProp(nn.Cell):
    """Takes the learning rate () and the gradients, updates parameters and state in place, returns the learning rate.

    Adds the parameters' weight decays to the gradients first.
    """

    def __init__(self, settings: RmsProp, weights: ParameterTuple, decays: Sequence[float]) -> None:
        super().__init__(auto_prefix=False)
        self.rule = Tensor(np.array([settings.decay, settings.momentum, settings.epsilon], np.float32))
        self.decays = Tensor(np.array(decays, np.float32))
        self.weights = weights
        self.squares = weights.clone("rmsprop.square", "ones")
        self.velocities = weights.clone("rmsprop.velocity", "zeros")
        self.update = rmsprop(len(weights))

    def construct(self, learning_rate: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        """Take one step."""
        state = self.weights + self.squares + self.velocities
        return self.update(learning_rate, self.rule, self.decays, *state, *gradients)
