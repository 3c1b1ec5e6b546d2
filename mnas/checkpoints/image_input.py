"""What images a network takes: from the settings of its data or, where there are none, by convention."""

from __future__ import annotations

from pathlib import Path

from mnas.checkpoints.checkpoint import InputForm
from mnas.data import (
    Cifar10BinarySettings,
    DataSettings,
    DigitsSettings,
    ImageFolderSettings,
    ImageSource,
    Normalization,
    load_test_data,
)
from mnas.data.cifar10 import TEST_FILES
from mnas.data.folder import find_test_folder
from mnas.data.settings import DIGITS_NORMALIZATION, IMAGENET_NORMALIZATION
from mnas.errors import DataError

# Images below this size (CIFAR-10, digits) come in the network's size and are evaluated as they are.
SMALLEST_CROPPED_SIZE = 96
IMAGENET_EVALUATION_CROP = 0.875  # 224 of 256 pixels


def conventional_input(image_size: int, channels: int, num_classes: int) -> InputForm:
    """Return ImageNet's preparation for colour images and that of the digits for grey ones.

    Images of 96 pixels and more are evaluated on the central 87.5%, as MindCV does. Classes are named by their number.
    """
    normalization = DIGITS_NORMALIZATION if channels == 1 else IMAGENET_NORMALIZATION
    return InputForm(
        image_size=image_size,
        channels=channels,
        mean=normalization.mean,
        std=normalization.std,
        evaluation_crop=IMAGENET_EVALUATION_CROP if image_size >= SMALLEST_CROPPED_SIZE else 1.0,
        class_names=numbered_classes(num_classes),
    )


def input_of(data: DataSettings, *, image_size: int, channels: int, class_names: tuple[str, ...]) -> InputForm:
    """Return the preparation of the images that are evaluated under these settings."""
    folder = data if isinstance(data, ImageFolderSettings) else None
    return InputForm(
        image_size=image_size,
        channels=channels,
        mean=data.normalize.mean,
        std=data.normalize.std,
        evaluation_crop=folder.evaluation_crop_fraction if folder else 1.0,
        interpolation=folder.interpolation if folder else "bilinear",
        class_names=class_names,
    )


def searched_input(data: DataSettings, *, image_size: int, channels: int, num_classes: int) -> InputForm:
    """Return the preparation of the images that a search evaluates its children on; it keeps no names of classes."""
    return input_of(data, image_size=image_size, channels=channels, class_names=numbered_classes(num_classes))


def numbered_classes(num_classes: int) -> tuple[str, ...]:
    """Return the names of classes that have none: their numbers."""
    return tuple(str(number) for number in range(num_classes))


DIGITS = "digits"


def load_images(data: str, form: InputForm, test_folder: str | None = None) -> ImageSource:
    """Load the test set at `data`, prepared as a network wants it.

    `data` is "digits" (those that come with mnas), a folder with CIFAR-10's binary batches, or one with test/CLASS/* or
    val/CLASS/*. Images of which only the centre is evaluated are decoded and resized by mindspore.dataset, as MindCV
    does; images in the network's own size by Pillow. Both engines see the same pixels.

    Raises DataError where images are missing, damaged or of other classes than the network's.
    """
    names = None if form.class_names == numbered_classes(form.num_classes) else form.class_names
    source = load_test_data(_settings(data, form, test_folder), names)
    if names is not None and source.class_names != names:
        raise DataError(
            f"{data}: its classes ({', '.join(source.class_names[:3])}, ...) are not those that the network was "
            f"trained on ({', '.join(names[:3])}, ...); give the test set of its training data"
        )
    return source


def _settings(data: str, form: InputForm, test_folder: str | None) -> DataSettings:
    size, normalize = form.image_size, Normalization(mean=form.mean, std=form.std)
    if data == DIGITS:
        _check_channels(data, form, 1)
        return DigitsSettings(image_size=size, normalize=normalize)
    if (Path(data) / TEST_FILES[0]).is_file():
        _check_channels(data, form, 3)
        return Cifar10BinarySettings(directory=data, image_size=size, normalize=normalize)
    find_test_folder(Path(data), test_folder)
    _check_channels(data, form, 3)
    return ImageFolderSettings(
        directory=data,
        test_folder=test_folder,
        image_size=size,
        augment="none",
        normalize=normalize,
        evaluation_crop=form.evaluation_crop,
        interpolation=form.interpolation,
        storage="stream" if form.evaluation_crop < 1 else "auto",
    )


def _check_channels(data: str, form: InputForm, channels: int) -> None:
    if form.channels != channels:
        raise DataError(f"{data}: its images have {channels} channels, the network takes {form.channels}; give others")
