"""From a batch of uint8 images to the network's input: random crop, flip, normalization; in NumPy.

`mnas.training.image_preparation` does the last two in the graph.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Uint8Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocessing:
    """How prepared square images become network inputs.

    Attributes:
        crop: Pad each side with this many black pixels, then crop at random; 0 for no crop.
        flip: Mirror each image left to right with probability 1/2.
        mean: Mean of each channel, of pixel values scaled to 0..1.
        std: Standard deviation of each channel, of pixel values scaled to 0..1.
    """

    crop: int
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def scale(self) -> npt.NDArray[np.float32]:
        """What a pixel of each channel is multiplied by, shape (channels, 1, 1)."""
        return 1 / (255 * self._of_channels(self.std))

    @property
    def shift(self) -> npt.NDArray[np.float32]:
        """What is then subtracted, shape (channels, 1, 1)."""
        return self._of_channels(self.mean) / self._of_channels(self.std)

    def normalize(self, images: Uint8Images) -> npt.NDArray[np.float32]:
        """Return (pixel / 255 - mean) / std, from NHWC to contiguous NCHW."""
        return self._normalize_nchw(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def cut(self, images: Uint8Images, draws: "AugmentationDraws") -> Uint8Images:
        """Crop, from NHWC to contiguous NCHW; draw i belongs to image i. The result is a copy."""
        count, height, width, _ = images.shape
        if self.crop:
            margin = (self.crop, self.crop)
            padded = np.pad(images, ((0, 0), margin, margin, (0, 0)))
            windows = sliding_window_view(sliding_window_view(padded, height, axis=1), width, axis=2)
            planes = windows[np.arange(count), draws.top, draws.left]
        else:
            planes = images.transpose(0, 3, 1, 2)
        return np.array(planes, order="C")

    def finish(self, planes: Uint8Images, flipped: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Flip, in place, and normalize what `cut` returns."""
        planes[flipped] = planes[flipped, :, :, ::-1]
        return self._normalize_nchw(planes)

    def _normalize_nchw(self, planes: Uint8Images) -> npt.NDArray[np.float32]:
        normalized: npt.NDArray[np.float32] = np.multiply(planes, self.scale, dtype=np.float32)
        normalized -= self.shift
        return normalized

    def _of_channels(self, values: tuple[float, ...]) -> npt.NDArray[np.float32]:
        return np.asarray(values, np.float32).reshape(-1, 1, 1)


@dataclass(frozen=True)
class AugmentationDraws:
    """The random choices for some images.

    Attributes:
        top: Upper edge of the crop in the padded image, in pixels.
        left: Left edge of the crop in the padded image, in pixels.
        flipped: Whether the image is mirrored.
    """

    top: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    flipped: npt.NDArray[np.bool_]

    @classmethod
    def for_epoch(cls, count: int, preprocessing: Preprocessing, *, seed: int, epoch: int) -> "AugmentationDraws":
        """Return draws for the first, second, ... image that this epoch visits, whatever the batch size."""
        # The third number keeps this stream apart from the one that orders the epoch.
        random = np.random.default_rng([seed, epoch, 1])
        positions = 2 * preprocessing.crop + 1
        return cls(
            top=random.integers(positions, size=count),
            left=random.integers(positions, size=count),
            flipped=(random.random(count) < 0.5) & preprocessing.flip,
        )

    def __getitem__(self, part: slice) -> "AugmentationDraws":
        """Return the draws of a batch."""
        return AugmentationDraws(self.top[part], self.left[part], self.flipped[part])
