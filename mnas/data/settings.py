"""What the settings of every data format offer, and the keys that the built-in formats share.

The key `format` under `data:` chooses the format. Each format is one file with its settings, which load the images
(`digits.py`, `cifar10.py`, `image_folder.py`, `own.py`), and one line in `formats.py`. msgspec checks types and ranges
and names the path of a wrong value; `__post_init__` checks what a range cannot express, and msgspec adds the path to
its message too.
"""

import logging
from typing import Annotated, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from mnas.data.arrays import ImageArrays
from mnas.data.image_form import ImageForm, InputForm
from mnas.data.preprocessing import Preprocessing
from mnas.data.source import FullData, ImageSource, SearchData
from mnas.data.split import Indices, split_training
from mnas.errors import DataError

_LOG = logging.getLogger(__name__)

ImageSize: TypeAlias = Annotated[int, Meta(ge=8, le=1024)]
ImageCount: TypeAlias = Annotated[int, Meta(ge=1, le=10**12)]
Directory: TypeAlias = Annotated[str, Meta(min_length=1)]


class Normalization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Per-channel mean and standard deviation of pixel values scaled to 0..1.

    Attributes:
        mean: Mean of each channel.
        std: Standard deviation of each channel.
    """

    mean: tuple[Annotated[float, Meta(ge=0, le=1)], ...]
    std: tuple[Annotated[float, Meta(gt=0, le=1)], ...]

    def __post_init__(self) -> None:
        """Raise ValueError if the lists have different lengths."""
        if len(self.mean) != len(self.std):
            raise ValueError(f"`mean` has {len(self.mean)} values and `std` {len(self.std)}: give one per channel")


class DataFormat(Protocol):
    """The settings of a data format: which images, how many, prepared how."""

    @property
    def image_size(self) -> int:
        """Height and width of the network's input, in pixels."""
        ...

    @property
    def channels(self) -> int | None:
        """1 for grey, 3 for RGB; None if only loading tells."""
        ...

    def load_search(self) -> SearchData:
        """Load the training images of a search, some of them held out for the reward.

        The test set is not opened, and need not exist.

        Raises:
            DataError: Data is missing, damaged, of the wrong form, or less than was asked for.
        """
        ...

    def load_full(self) -> FullData:
        """Load all training images and the test set.

        Raises:
            DataError: Data is missing, damaged or of the wrong form.
        """
        ...

    def load_test(self, class_names: tuple[str, ...] | None = None) -> ImageSource:
        """Load the test set alone; the training images need not exist.

        Args:
            class_names: Those that the network was trained on; None if they are not known.

        Raises:
            DataError: Data is missing, damaged, of the wrong form, or has other classes.
        """
        ...

    def input_form(self, source: ImageSource) -> InputForm:
        """Return how evaluation prepares images, as a run and a checkpoint keep it.

        Args:
            source: Images that were loaded with these settings, or passed in their place.

        Raises:
            DataError: The source does not tell how it normalizes images, and neither do the settings.
        """
        ...

    def located(self, directory: str) -> "DataFormat":
        """Return the settings for the same data in another directory.

        Raises:
            ConfigurationError: Data of this format is in no directory.
        """
        ...

    @classmethod
    def find_test_set(cls, data: str, form: InputForm, test_folder: str | None) -> "DataFormat | None":
        """Return settings that load the test set at `data` as `form` says; None if it is not of this format.

        Args:
            data: What a user gives as `mnas validate --data`: in general a directory.
            form: How the network's images are prepared.
            test_folder: Folder of the test images in the directory; None for the format's own.

        Raises:
            DataError: The data is of this format, but has other channels than the network takes.
        """
        ...


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="format"):
    """What the built-in formats share.

    Attributes:
        image_size: Height and width of the network's input, in pixels.
        reward_images: Training images held out to compute the reward of a child; balanced over classes. A search
            needs it.
        train_images: Train children on this many of the remaining images only (balanced over classes); all of them if
            absent. Full training uses every training image; it refuses this key, `reward_images` and `split_seed`.
        split_seed: Chooses which images are held out.
        crop_padding: Pixels of padding on each side before the random crop of `crop_flip`; image_size / 8 if absent
            (4 at 32 pixels).
        augment: Random changes of the training images: `none`; `crop_flip` pads, crops and flips; `inception` is for
            image folders.
        normalize: Mean and standard deviation of each channel; pixels become (pixel / 255 - mean) / std.
    """

    image_size: ImageSize
    reward_images: ImageCount | None = None
    train_images: ImageCount | None = None
    split_seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    crop_padding: Annotated[int, Meta(ge=0, le=1024)] | None = None
    augment: Literal["none", "crop_flip", "inception"]
    normalize: Normalization

    @property
    def channels(self) -> int:
        """3: RGB, unless the format says otherwise."""
        return 3

    @property
    def padding(self) -> int:
        """`crop_padding`, or its default for this image size; pixels."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding

    @property
    def preprocessing(self) -> Preprocessing:
        """What remains to be done to prepared squares; the random parts of `inception` are cut while decoding."""
        return Preprocessing(
            crop=self.padding if self.augment == "crop_flip" else 0,
            flip=self.augment != "none",
            mean=self.normalize.mean,
            std=self.normalize.std,
        )

    def __post_init__(self) -> None:
        """Raise ValueError if crops would lie outside the picture, or the normalization does not fit the channels."""
        if self.padding >= self.image_size:
            raise ValueError(f"`crop_padding` must be less than `image_size` ({self.image_size}), found {self.padding}")
        if (found := len(self.normalize.mean)) != self.channels:
            raise ValueError(f"`normalize` needs {self.channels} values for `mean` and `std`, found {found}")

    def split(self, labels: npt.NDArray[np.int32], class_names: tuple[str, ...]) -> tuple[Indices, Indices]:
        """Return the positions of the images to train children on, and of those of the reward.

        A class of which a part gets no image is logged.

        Raises:
            DataError: `reward_images` is missing, or more images are asked for than there are.
        """
        if self.reward_images is None:
            raise DataError(
                "`data.reward_images` is missing: a search holds out that many training images to compare its networks "
                "on; for ImageNet the paper takes 50000"
            )
        train, reward = split_training(
            labels, reward_images=self.reward_images, train_images=self.train_images, split_seed=self.split_seed
        )
        _warn_of_absent(labels[train], class_names, "data.train_images", "train on", "give more")
        _warn_of_absent(labels[reward], class_names, "data.reward_images", "reward", "give more")
        return train, reward

    def hold_out(
        self, labels: npt.NDArray[np.int32], class_names: tuple[str, ...], images: int, split_seed: int
    ) -> tuple[Indices, Indices]:
        """Return the positions of the images to train on fully, and of the `images` that validate.

        A class of which a part gets no image is logged.

        Raises:
            DataError: No image would remain to train on.
        """
        train, held_out = split_training(labels, reward_images=images, train_images=None, split_seed=split_seed)
        _warn_of_absent(labels[train], class_names, "validation", "train on", "hold out fewer")
        _warn_of_absent(labels[held_out], class_names, "validation", "validate on", "hold out more")
        return train, held_out

    def validated_arrays(self, training: ImageArrays, test: ImageArrays, images: int, split_seed: int) -> FullData:
        """Hold out images that are held in memory for full training, and resize them.

        Raises:
            DataError: As `hold_out`.
        """
        train, held_out = (
            training.select(part).resized(self.image_size)
            for part in self.hold_out(training.labels, training.class_names, images, split_seed)
        )
        return FullData(train, test, held_out)

    def split_arrays(self, training: ImageArrays) -> SearchData:
        """Split images held in memory for a search, and resize them.

        Raises:
            DataError: As `split`.
        """
        train, reward = (
            training.select(part).resized(self.image_size) for part in self.split(training.labels, training.class_names)
        )
        return SearchData(train, reward)

    def input_form(self, source: ImageSource) -> InputForm:
        """Return how evaluation prepares images; see `DataFormat`."""
        normalize = normalization_of(source) or self.normalize
        if len(normalize.mean) != source.channels:
            raise DataError(
                f"the images have {source.channels} channels, but `data.normalize` has values for "
                f"{len(normalize.mean)}; write one for each, or give the source an attribute `preprocessing`"
            )
        return self.prepared(ImageForm.of(source), source.class_names, normalize)

    def prepared(self, form: ImageForm, class_names: tuple[str, ...] | None, normalize: Normalization) -> InputForm:
        """Return the preparation of images of a form under these settings: the whole centred square, resized."""
        return InputForm(
            image_size=form.image_size,
            channels=form.channels,
            num_classes=form.num_classes,
            mean=normalize.mean,
            std=normalize.std,
            evaluation_crop=1.0,
            class_names=class_names,
        )


def _warn_of_absent(
    labels: npt.NDArray[np.int32], class_names: tuple[str, ...], key: str, what: str, remedy: str
) -> None:
    """Log the classes that have no image in a part of the training images."""
    absent = sorted(set(range(len(class_names))) - set(np.unique(labels).tolist()))
    if absent:
        names = ", ".join(class_names[label] for label in absent[:3]) + (", ..." if len(absent) > 3 else "")
        _LOG.warning(
            "%s: %d of %d classes have no image among the %d to %s (%s); %s",
            *(key, len(absent), len(class_names), len(labels), what, names, remedy),
        )


def normalization_of(source: ImageSource) -> Normalization | None:
    """Return how a source normalizes pixels if it tells: by an attribute `preprocessing`, as `ImageArrays` has."""
    told = getattr(source, "preprocessing", None)
    return Normalization(mean=told.mean, std=told.std) if isinstance(told, Preprocessing) else None


def check_channels(data: str, form: InputForm, channels: int) -> None:
    """Raise DataError if images at `data` have other channels than a network takes."""
    if form.channels != channels:
        raise DataError(f"{data}: its images have {channels} channels, the network takes {form.channels}; give others")
