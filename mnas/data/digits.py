"""The handwritten digits that ship with mnas; see mnas/datasets/README.md for source and licence."""

import io
from importlib import resources

import numpy as np

from mnas.data.arrays import ImageArrays
from mnas.data.preprocessing import preprocessing_for
from mnas.data.settings import DigitsSettings

TEST_IMAGES = 360
GREY_LEVELS = 16
CLASS_NAMES = tuple("0123456789")


def load_training(settings: DigitsSettings) -> ImageArrays:
    """The first 1,437 digits, 8x8."""
    return _load(settings, slice(None, -TEST_IMAGES))


def load_test(settings: DigitsSettings) -> ImageArrays:
    """The last 360 digits, 8x8."""
    return _load(settings, slice(-TEST_IMAGES, None))


def _load(settings: DigitsSettings, part: slice) -> ImageArrays:
    content = (resources.files("mnas") / "datasets" / "digits.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        levels, labels = file["images"][part], file["labels"][part]
    pixels = np.rint(levels * (255 / GREY_LEVELS)).astype(np.uint8)
    return ImageArrays(
        images=pixels[..., np.newaxis],
        labels=labels.astype(np.int32),
        class_names=CLASS_NAMES,
        preprocessing=preprocessing_for(settings),
    )
