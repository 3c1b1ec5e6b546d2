"""The handwritten digits that ship with mnas; see mnas/datasets/README.md for source and licence."""

import io
from importlib import resources
from typing import Literal, NoReturn

import numpy as np

from mnas.data.arrays import ImageArrays
from mnas.data.image_form import InputForm
from mnas.data.settings import ImageCount, ImageSettings, ImageSize, Normalization, check_channels
from mnas.data.source import FullData, SearchData
from mnas.errors import ConfigurationError

TEST_IMAGES = 360
GREY_LEVELS = 16
DIGIT_NAMES = tuple("0123456789")
DIGITS_NORMALIZATION = Normalization(mean=(0.3054,), std=(0.3755,))


class DigitsSettings(ImageSettings, frozen=True, kw_only=True, tag="digits"):
    """The 1,797 handwritten digits that ship with mnas (1,437 for training, 360 for test)."""

    image_size: ImageSize = 32
    reward_images: ImageCount = 300
    augment: Literal["none", "crop_flip"] = "none"
    normalize: Normalization = DIGITS_NORMALIZATION

    @property
    def channels(self) -> int:
        """1: grey."""
        return 1

    def load_search(self) -> SearchData:
        """Split the training digits for a search; see `DataFormat`."""
        return self.split_arrays(self.load_training())

    def count_training_images(self) -> int:
        """Return the number of training images."""
        return len(self.load_training())

    def load_full(self) -> FullData:
        """Load the training digits and the test digits; see `DataFormat`."""
        return FullData(self.load_training().resized(self.image_size), self.load_test())

    def load_validated(self, images: int, split_seed: int) -> FullData:
        """Load them with so many training images held out, balanced over classes, to validate on."""
        return self.validated_arrays(self.load_training(), self.load_test(), images, split_seed)

    def load_test(self, class_names: tuple[str, ...] | None = None) -> ImageArrays:
        """Load the last 360 digits; see `DataFormat`."""
        return self._load(slice(-TEST_IMAGES, None)).resized(self.image_size)

    def load_training(self) -> ImageArrays:
        """Load the first 1,437 digits, 8x8."""
        return self._load(slice(None, -TEST_IMAGES))

    def located(self, directory: str) -> NoReturn:
        """Raise ConfigurationError: the digits are in no directory."""
        raise ConfigurationError(
            "the recipe trains on the digits that come with mnas, which are in no directory: leave --data out, or "
            "write `format: image_folder` in the recipe"
        )

    @classmethod
    def find_test_set(cls, data: str, form: InputForm, test_folder: str | None) -> "DigitsSettings | None":
        """Return settings for the word `digits`; see `DataFormat`."""
        if data != "digits":
            return None
        check_channels(data, form, 1)
        return cls(image_size=form.image_size, normalize=Normalization(mean=form.mean, std=form.std))

    def _load(self, part: slice) -> ImageArrays:
        content = (resources.files("mnas") / "datasets" / "digits.npz").read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            levels, labels = file["images"][part], file["labels"][part]
        pixels = np.rint(levels * (255 / GREY_LEVELS)).astype(np.uint8)
        return ImageArrays(
            images=pixels[..., np.newaxis],
            labels=labels.astype(np.int32),
            class_names=DIGIT_NAMES,
            preprocessing=self.preprocessing,
        )
