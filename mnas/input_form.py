"""What images a network takes: from the settings of its data or, where there are none, by convention."""

from __future__ import annotations

from mnas.checkpoint import InputForm
from mnas.data import ImageFolderSettings
from mnas.data.settings import DIGITS_NORMALIZATION, IMAGENET_NORMALIZATION, DataSettings

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
