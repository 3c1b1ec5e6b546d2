# mypy: allow-subclassing-any
"""The end of the image preparation in the graph: mirroring and normalizing, as `Preprocessing.finish` does in NumPy.

The numbers are the same: on the CPU to the last bit, on an NPU to rounding (it has not been run on one).

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

from typing import Any

import mindspore
from mindspore import Tensor, nn
from mindspore.ops import auto_generate as ext

from mnas.data import Preprocessing


class PixelStep(nn.Cell):
    """A training step whose images are a batch of pixels: uint8 images, and whether to mirror each."""

    def __init__(self, step: nn.Cell, preprocessing: Preprocessing) -> None:
        super().__init__(auto_prefix=False)
        self.finish_images = FinishImages(preprocessing)
        self.step = step
        self.set_train()

    def construct(self, images: Tensor, flipped: Tensor, *others: Tensor) -> Any:
        """Take the step on `images`, `flipped` and the step's other arguments; return what it returns."""
        return self.step(self.finish_images(images, flipped), *others)


class FinishImages(nn.Cell):
    """A cell that mirrors and normalizes uint8 images (N, C, H, W)."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__(auto_prefix=False)
        self.scale, self.shift = Tensor(preprocessing.scale), Tensor(preprocessing.shift)
        self.mirror = ext.ReverseV2((3,))
        self.select = ext.Select()

    def construct(self, images: Tensor, flipped: Tensor) -> Tensor:
        """Return float32 images; `flipped`, bool (N,), says which to mirror."""
        normalized = images.astype(mindspore.float32) * self.scale - self.shift
        return self.select(flipped.reshape((-1, 1, 1, 1)), self.mirror(normalized), normalized)
