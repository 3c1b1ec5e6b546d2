"""From settings to image sources: for a search, and for full training."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnas.data import cifar10, digits, folder
from mnas.data.arrays import ImageArrays
from mnas.data.decoding import decode_squares
from mnas.data.folder import FileListing
from mnas.data.preprocessing import preprocessing_for
from mnas.data.settings import Cifar10BinarySettings, DataSettings, DigitsSettings, ImageFolderSettings
from mnas.data.source import ImageSource
from mnas.data.split import Indices, split_training
from mnas.data.streaming import StreamedImages
from mnas.errors import DataError
from mnas.files import fingerprint_of


@dataclass(frozen=True)
class SearchData:
    """What a search uses: images to train children on, and held-out training images for their reward."""

    train: ImageSource
    reward: ImageSource

    def fingerprint(self) -> str:
        """SHA-256 (hex) of both parts."""
        return fingerprint_of(self.train.fingerprint(), self.reward.fingerprint())

    def describe(self) -> str:
        """Two lines for people."""
        return f"training: {self.train.describe()}\nreward: {self.reward.describe()}"


@dataclass(frozen=True)
class FullData:
    """What full training uses: every training image, and the test set."""

    train: ImageSource
    test: ImageSource

    def fingerprint(self) -> str:
        """SHA-256 (hex) of both parts."""
        return fingerprint_of(self.train.fingerprint(), self.test.fingerprint())

    def describe(self) -> str:
        """Two lines for people."""
        return f"training: {self.train.describe()}\ntest: {self.test.describe()}"


def load_search_data(settings: DataSettings) -> SearchData:
    """Split the training data for a search. The test set is not opened, and need not exist.

    Raises:
        DataError: data is missing, damaged, of the wrong form, or less than was asked for.
    """
    match settings:
        case DigitsSettings():
            return _split_arrays(digits.load_training(settings), settings)
        case Cifar10BinarySettings():
            return _split_arrays(cifar10.load_training(settings), settings)
        case ImageFolderSettings():
            listing = folder.list_training(settings.path)
            train, reward = _split(listing.labels, settings)
            return SearchData(*_place(listing.select(train), listing.select(reward), settings))


def load_full_data(settings: DataSettings) -> FullData:
    """Load all training images (`reward_images` and `train_images` do not matter) and the test set.

    Raises:
        DataError: data is missing, damaged or of the wrong form.
    """
    match settings:
        case DigitsSettings():
            return _resized(digits.load_training(settings), digits.load_test(settings), settings)
        case Cifar10BinarySettings():
            return _resized(cifar10.load_training(settings), cifar10.load_test(settings), settings)
        case ImageFolderSettings():
            train = folder.list_training(settings.path)
            test = folder.list_test(settings.path, settings.test_folder, train.class_names)
            return FullData(*_place(train, test, settings))


def load_test_data(settings: DataSettings, class_names: tuple[str, ...] | None = None) -> ImageSource:
    """Load the test set alone; the training images need not exist.

    Args:
        class_names: those that the network was trained on; None where they are not known.

    Raises:
        DataError: data is missing, damaged, of the wrong form, or has other classes.
    """
    match settings:
        case DigitsSettings():
            return digits.load_test(settings).resized(settings.image_size)
        case Cifar10BinarySettings():
            return cifar10.load_test(settings).resized(settings.image_size)
        case ImageFolderSettings():
            listing = folder.list_test(settings.path, settings.test_folder, class_names)
            return _place_evaluation(listing, settings)


def _split_arrays(images: ImageArrays, settings: DataSettings) -> SearchData:
    train, reward = _split(images.labels, settings)
    size = settings.image_size
    return SearchData(images.select(train).resized(size), images.select(reward).resized(size))


def _resized(train: ImageArrays, test: ImageArrays, settings: DataSettings) -> FullData:
    return FullData(train.resized(settings.image_size), test.resized(settings.image_size))


def _split(labels: npt.NDArray[np.int32], settings: DataSettings) -> tuple[Indices, Indices]:
    if settings.reward_images is None:
        raise DataError(
            "`data.reward_images` is missing: a search holds out that many training images to compare its networks on; "
            "for ImageNet the paper takes 50000"
        )
    return split_training(
        labels,
        reward_images=settings.reward_images,
        train_images=settings.train_images,
        split_seed=settings.split_seed,
    )


def _place(
    training: FileListing, evaluation: FileListing, settings: ImageFolderSettings
) -> tuple[ImageSource, ImageSource]:
    """Decide what is decoded into memory and what is streamed; see `ImageFolderSettings.storage`."""
    limit = settings.memory_limit_gb * 1e9
    training_bytes, evaluation_bytes = (
        _decoded_bytes(training, settings),
        _decoded_bytes(evaluation, settings),
    )
    if settings.storage == "memory" and training_bytes + evaluation_bytes > limit:
        raise DataError(
            f"{settings.path}: {len(training) + len(evaluation):,} images at {settings.image_size} pixels "
            f"take {(training_bytes + evaluation_bytes) / 1e9:.2g} GB decoded, memory_limit_gb is "
            f"{settings.memory_limit_gb:g}: raise it, or use `storage: auto`"
        )
    may_hold = settings.storage != "stream"
    # Evaluation comes first: it needs only the prepared square, and every child reads all of it.
    hold_evaluation = may_hold and evaluation_bytes <= limit
    budget = limit - evaluation_bytes if hold_evaluation else limit
    hold_training = may_hold and settings.augment != "inception" and training_bytes <= budget
    return (
        _decode(training, 1.0, settings) if hold_training else _stream(training, settings),
        _place_evaluation(evaluation, settings),
    )


def _place_evaluation(listing: FileListing, settings: ImageFolderSettings) -> ImageSource:
    fits = _decoded_bytes(listing, settings) <= settings.memory_limit_gb * 1e9
    if settings.storage == "stream" or not fits:
        return _stream(listing, settings)
    return _decode(listing, settings.evaluation_crop_fraction, settings)


def _decoded_bytes(listing: FileListing, settings: ImageFolderSettings) -> int:
    return len(listing) * settings.image_size**2 * 3


def _decode(listing: FileListing, crop_fraction: float, settings: ImageFolderSettings) -> ImageArrays:
    return ImageArrays(
        images=decode_squares(
            listing, settings.image_size, crop_fraction, settings.decode_workers, settings.interpolation
        ),
        labels=listing.labels,
        class_names=listing.class_names,
        preprocessing=preprocessing_for(settings),
    )


def _stream(listing: FileListing, settings: ImageFolderSettings) -> StreamedImages:
    return StreamedImages(
        listing=listing,
        image_size=settings.image_size,
        random_parts=settings.augment == "inception",
        color_jitter=settings.color_jitter,
        interpolation=settings.interpolation,
        evaluation_crop=settings.evaluation_crop_fraction,
        workers=settings.decode_workers,
        preprocessing=preprocessing_for(settings),
    )
