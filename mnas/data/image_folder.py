"""Images in class folders, of any size: decoded into memory or streamed."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mnas.data.arrays import ImageArrays
from mnas.data.decoding import decode_squares
from mnas.data.folder import FileListing, find_test_folder, list_test, list_training
from mnas.data.image_form import ImageForm, InputForm, Interpolation
from mnas.data.settings import Directory, ImageSettings, ImageSize, Normalization, check_channels
from mnas.data.source import FullData, ImageSource, SearchData
from mnas.data.streaming import StreamedImages
from mnas.documents.user_paths import user_path
from mnas.errors import DataError

IMAGENET_NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class ImageFolderSettings(ImageSettings, frozen=True, kw_only=True, tag="image_folder"):
    """Images in class folders: DIRECTORY/train/CLASS/*.jpg and DIRECTORY/test/... or DIRECTORY/val/...

    Attributes:
        directory: The folder that holds `train`, and `test` or `val`.
        test_folder: Folder of the test set; if absent, whichever of `test` and `val` exists.
        augment: `inception` cuts a random part (8 to 100% of the area, aspect 3/4 to 4/3) out of each original picture
            and flips it; `crop_flip` pads, crops and flips the prepared square.
        color_jitter: With `inception`, brightness, contrast and saturation are each multiplied by a random factor from
            1 - color_jitter to 1 + color_jitter; MindCV's default is 0.4.
        interpolation: Filter that pictures are resized with; MindCV's is bilinear, MnasNet's authors' bicubic.
        evaluation_crop: Side of the centred square that evaluation sees, as a fraction of the shorter side; if absent
            0.875 with `inception` (256 -> 224) and 1 otherwise.
        storage: `memory` decodes every image once, with Pillow's antialiased bilinear filter. `stream` decodes in every
            epoch through mindspore.dataset, with MindSpore's plain bilinear filter, as MindCV does. `auto` streams the
            training images under `inception`, which needs the original pictures, and whatever does not fit
            `memory_limit_gb`; the rest is held in memory.
        memory_limit_gb: Bound of the decoded images held in memory, in 10^9 bytes.
        decode_workers: Threads that decode. MindSpore draws random crops and colours per thread, so those of
            `inception` repeat exactly only with the same number (the order of images always does).
    """

    directory: Directory
    test_folder: Annotated[str, Meta(pattern=r"^[^/]+$")] | None = None
    image_size: ImageSize = 224
    augment: Literal["none", "crop_flip", "inception"] = "inception"
    color_jitter: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    interpolation: Interpolation = "bilinear"
    normalize: Normalization = IMAGENET_NORMALIZATION
    evaluation_crop: Annotated[float, Meta(ge=0.1, le=1)] | None = None
    storage: Literal["auto", "memory", "stream"] = "auto"
    memory_limit_gb: Annotated[float, Meta(gt=0, le=1e6)] = 4.0
    decode_workers: Annotated[int, Meta(ge=1, le=256)] = 4

    def __post_init__(self) -> None:
        """Raise ValueError for keys that do not go together."""
        super().__post_init__()
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
        return user_path(self.directory).absolute()

    @property
    def evaluation_crop_fraction(self) -> float:
        """`evaluation_crop`, or its default for this augmentation."""
        if self.evaluation_crop is not None:
            return self.evaluation_crop
        return 0.875 if self.augment == "inception" else 1.0

    def load_search(self) -> SearchData:
        """Split the images of `train` for a search; see `DataFormat`."""
        listing = list_training(self.path)
        train, reward = self.split(listing.labels, listing.class_names)
        return SearchData(*self._placed(listing.select(train), listing.select(reward)))

    def count_training_images(self) -> int:
        """Return the number of training images."""
        return len(list_training(self.path))

    def load_full(self) -> FullData:
        """Load the images of `train` and of the test folder; see `DataFormat`."""
        train = list_training(self.path)
        test = list_test(self.path, self.test_folder, train.class_names)
        return FullData(*self._placed(train, test))

    def load_validated(self, images: int, split_seed: int) -> FullData:
        """Load them with so many images of `train` held out, balanced over classes, to validate on."""
        listing = list_training(self.path)
        test = list_test(self.path, self.test_folder, listing.class_names)
        train, held_out = self.hold_out(listing.labels, listing.class_names, images, split_seed)
        return FullData(*self._placed(listing.select(train), test, listing.select(held_out)))

    def load_test(self, class_names: tuple[str, ...] | None = None) -> ImageSource:
        """Load the images of the test folder; see `DataFormat`."""
        listing = list_test(self.path, self.test_folder, class_names)
        return self._evaluated(listing, self.memory_limit_gb * 1e9)

    def prepared(self, form: ImageForm, class_names: tuple[str, ...] | None, normalize: Normalization) -> InputForm:
        """Return the preparation of images of a form under these settings."""
        return msgspec.structs.replace(
            super().prepared(form, class_names, normalize),
            evaluation_crop=self.evaluation_crop_fraction,
            interpolation=self.interpolation,
        )

    def located(self, directory: str) -> "ImageFolderSettings":
        """Return the settings for another directory."""
        return msgspec.structs.replace(self, directory=directory)

    @classmethod
    def find_test_set(cls, data: str, form: InputForm, test_folder: str | None) -> "ImageFolderSettings":
        """Return settings for a directory with a test folder; see `DataFormat`.

        Images of which only the centre is evaluated are decoded and resized by mindspore.dataset, as MindCV does;
        images in the network's own size by Pillow.

        Raises:
            DataError: There is no test folder, or it is not clear which.
        """
        find_test_folder(user_path(data), test_folder)
        check_channels(data, form, 3)
        return cls(
            directory=data,
            test_folder=test_folder,
            image_size=form.image_size,
            augment="none",
            normalize=Normalization(mean=form.mean, std=form.std),
            evaluation_crop=form.evaluation_crop,
            interpolation=form.interpolation,
            storage="stream" if form.evaluation_crop < 1 else "auto",
        )

    def _placed(self, training: FileListing, *evaluations: FileListing) -> tuple[ImageSource, ...]:
        """Decode into memory or stream, as `storage` says; all parts share `memory_limit_gb`."""
        budget = self.memory_limit_gb * 1e9
        total_bytes = sum(map(self._decoded_bytes, (training, *evaluations)))
        if self.storage == "memory" and total_bytes > budget:
            raise DataError(
                f"{self.path}: {sum(map(len, (training, *evaluations))):,} images at {self.image_size} pixels "
                f"take {total_bytes / 1e9:.2g} GB decoded, memory_limit_gb is "
                f"{self.memory_limit_gb:g}: raise it, or use `storage: auto`"
            )
        placed: list[ImageSource] = []
        # Evaluation comes first: it needs only the prepared square, and every child reads all of it.
        for listing in evaluations:
            placed.append(self._evaluated(listing, budget))
            if isinstance(placed[-1], ImageArrays):
                budget -= self._decoded_bytes(listing)
        fits = self.augment != "inception" and self._decoded_bytes(training) <= budget
        hold_training = self.storage != "stream" and fits
        return (self._decoded(training, 1.0) if hold_training else self._streamed(training), *placed)

    def _evaluated(self, listing: FileListing, budget: float) -> ImageSource:
        """Decode into memory if `storage` and the budget (bytes) allow it."""
        if self.storage == "stream" or self._decoded_bytes(listing) > budget:
            return self._streamed(listing)
        return self._decoded(listing, self.evaluation_crop_fraction)

    def _decoded_bytes(self, listing: FileListing) -> int:
        return len(listing) * self.image_size**2 * self.channels

    def _decoded(self, listing: FileListing, crop_fraction: float) -> ImageArrays:
        return ImageArrays(
            images=decode_squares(listing, self.image_size, crop_fraction, self.decode_workers, self.interpolation),
            labels=listing.labels,
            class_names=listing.class_names,
            preprocessing=self.preprocessing,
        )

    def _streamed(self, listing: FileListing) -> StreamedImages:
        return StreamedImages(
            listing=listing,
            image_size=self.image_size,
            random_parts=self.augment == "inception",
            color_jitter=self.color_jitter,
            interpolation=self.interpolation,
            evaluation_crop=self.evaluation_crop_fraction,
            workers=self.decode_workers,
            preprocessing=self.preprocessing,
        )
