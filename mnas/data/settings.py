"""What a user writes under `data:` in an experiment: which images, how many, prepared how.

The key `format` chooses one of three structs (`digits`, `image_folder`, `cifar10_binary`). msgspec checks
types and ranges and names the path of a wrong value; `__post_init__` checks what a range cannot say, and
msgspec adds the path to its message too.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

ImageSize: TypeAlias = Annotated[int, Meta(ge=8, le=1024)]
ImageCount: TypeAlias = Annotated[int, Meta(ge=1)]
Interpolation: TypeAlias = Literal["bilinear", "bicubic"]


class Normalization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Per-channel mean and standard deviation of pixel values scaled to 0..1."""

    mean: tuple[Annotated[float, Meta(ge=0, le=1)], ...]
    std: tuple[Annotated[float, Meta(gt=0, le=1)], ...]

    def __post_init__(self) -> None:
        """Raise ValueError for lists of different lengths."""
        if len(self.mean) != len(self.std):
            raise ValueError(f"`mean` has {len(self.mean)} values and `std` {len(self.std)}: give one per channel")


DIGITS_NORMALIZATION = Normalization(mean=(0.3054,), std=(0.3755,))
CIFAR10_NORMALIZATION = Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
IMAGENET_NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class _CommonSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="format"):
    """What every format has.

    image_size: height and width of the network's input, in pixels.
    reward_images: training images held out to compute the reward of a child; balanced over classes. A search needs it.
    train_images: train children on this many of the remaining images only (balanced over classes); all of
        them if absent. Full training ignores it and `reward_images`: it uses every training image.
    split_seed: chooses which images are held out.
    crop_padding: pixels of padding on each side before the random crop of `crop_flip`; image_size / 8 if
        absent (4 at 32 pixels).
    """

    image_size: ImageSize
    reward_images: ImageCount | None = None
    train_images: ImageCount | None = None
    split_seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    crop_padding: Annotated[int, Meta(ge=0)] | None = None

    @property
    def padding(self) -> int:
        """`crop_padding`, or its default for this image size; pixels."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding

    def __post_init__(self) -> None:
        """Raise ValueError for a padding that would leave crops without picture."""
        if self.padding >= self.image_size:
            raise ValueError(f"`crop_padding` must be less than `image_size` ({self.image_size}), found {self.padding}")


class DigitsSettings(_CommonSettings, frozen=True, kw_only=True, tag="digits"):
    """The 1,797 handwritten digits that ship with mnas (1,437 for training, 360 for test)."""

    image_size: ImageSize = 32
    reward_images: ImageCount = 300
    augment: Literal["none", "crop_flip"] = "none"
    normalize: Normalization = DIGITS_NORMALIZATION

    def __post_init__(self) -> None:
        """Raise ValueError for what the field types cannot say."""
        super().__post_init__()
        _require_channels(self.normalize, 1)


class Cifar10BinarySettings(_CommonSettings, frozen=True, kw_only=True, tag="cifar10_binary"):
    """CIFAR-10 as its authors' binary batches: data_batch_1.bin ... data_batch_5.bin and test_batch.bin."""

    directory: Annotated[str, Meta(min_length=1)]
    image_size: ImageSize = 32
    reward_images: ImageCount = 5000
    augment: Literal["none", "crop_flip"] = "crop_flip"
    normalize: Normalization = CIFAR10_NORMALIZATION

    def __post_init__(self) -> None:
        """Raise ValueError for what the field types cannot say."""
        super().__post_init__()
        _require_channels(self.normalize, 3)

    @property
    def path(self) -> Path:
        """The directory, with `~` expanded and made absolute: workers run in other folders."""
        return Path(self.directory).expanduser().absolute()


class ImageFolderSettings(_CommonSettings, frozen=True, kw_only=True, tag="image_folder"):
    """Images in class folders: DIRECTORY/train/CLASS/*.jpg and DIRECTORY/test/... or DIRECTORY/val/...

    test_folder: the folder of the test set; if absent, whichever of `test` and `val` exists.
    augment: `inception` cuts a random part (8 to 100% of the area, aspect 3/4 to 4/3) out of each original
        picture and flips it; `crop_flip` pads, crops and flips the prepared square.
    color_jitter: with `inception`, brightness, contrast and saturation are each multiplied by a random factor from
        1 - color_jitter to 1 + color_jitter; MindCV's default is 0.4.
    interpolation: the filter that pictures are resized with; MindCV's is bilinear, MnasNet's authors' bicubic.
    evaluation_crop: side of the centred square that evaluation sees, as a fraction of the shorter side; if
        absent 0.875 with `inception` (256 -> 224) and 1 otherwise.
    storage: `memory` decodes every image once, with Pillow's antialiased bilinear filter. `stream` decodes
        in every epoch through mindspore.dataset, with MindSpore's plain bilinear filter, as MindCV does.
        `auto` streams the training images under `inception`, which needs the original pictures, and
        whatever does not fit `memory_limit_gb`; the rest is held in memory.
    memory_limit_gb: bound of the decoded images held in memory, in 10^9 bytes.
    decode_workers: threads that decode. MindSpore draws random crops and colours per thread, so those of
        `inception` repeat exactly only with the same number (the order of images always does).
    """

    directory: Annotated[str, Meta(min_length=1)]
    test_folder: Annotated[str, Meta(pattern=r"^[^/]+$")] | None = None
    image_size: ImageSize = 224
    augment: Literal["none", "crop_flip", "inception"] = "inception"
    color_jitter: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    interpolation: Interpolation = "bilinear"
    normalize: Normalization = IMAGENET_NORMALIZATION
    evaluation_crop: Annotated[float, Meta(ge=0.1, le=1)] | None = None
    storage: Literal["auto", "memory", "stream"] = "auto"
    memory_limit_gb: Annotated[float, Meta(gt=0)] = 4.0
    decode_workers: Annotated[int, Meta(ge=1, le=256)] = 4

    def __post_init__(self) -> None:
        """Raise ValueError for what the field types cannot say."""
        super().__post_init__()
        _require_channels(self.normalize, 3)
        if self.storage == "memory" and self.augment == "inception":
            raise ValueError(
                "`storage: memory` cannot serve `augment: inception`, which crops the original pictures: "
                "use `storage: auto` or `augment: crop_flip`"
            )
        if self.color_jitter and self.augment != "inception":
            raise ValueError("`color_jitter` belongs to `augment: inception`: use that, or leave `color_jitter` out")

    @property
    def path(self) -> Path:
        """The directory, with `~` expanded and made absolute: workers run in other folders."""
        return Path(self.directory).expanduser().absolute()

    @property
    def evaluation_crop_fraction(self) -> float:
        """`evaluation_crop`, or its default for this augmentation."""
        if self.evaluation_crop is not None:
            return self.evaluation_crop
        return 0.875 if self.augment == "inception" else 1.0


DataSettings: TypeAlias = DigitsSettings | ImageFolderSettings | Cifar10BinarySettings


def _require_channels(normalize: Normalization, channels: int) -> None:
    if len(normalize.mean) != channels:
        raise ValueError(f"`normalize` needs {channels} values for `mean` and `std`, found {len(normalize.mean)}")
