"""What images a network takes, by convention: for networks that come without their data."""

from __future__ import annotations

from mnas.data import InputForm
from mnas.data.digits import DIGITS_NORMALIZATION
from mnas.data.image_folder import IMAGENET_NORMALIZATION

# Images below this size (CIFAR-10, digits) come in the network's size and are evaluated as they are.
SMALLEST_CROPPED_SIZE = 96
CONVENTIONAL_SIZE = 224  # pixels, of ImageNet
IMAGENET_EVALUATION_CROP = 0.875  # 224 of 256 pixels


def conventional_input(image_size: int, channels: int, num_classes: int) -> InputForm:
    """Return ImageNet's preparation for colour images and that of the digits for grey ones.

    Images of 96 pixels and more are evaluated on the central 87.5%, as MindCV does. The names of the classes are
    not known.
    """
    normalization = DIGITS_NORMALIZATION if channels == 1 else IMAGENET_NORMALIZATION
    return InputForm(
        image_size=image_size,
        channels=channels,
        mean=normalization.mean,
        std=normalization.std,
        evaluation_crop=IMAGENET_EVALUATION_CROP if image_size >= SMALLEST_CROPPED_SIZE else 1.0,
        num_classes=num_classes,
    )
