"""Images that are held in memory, decoded."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from mnas.data.order import chosen_batches, epoch_order
from mnas.data.preprocessing import AugmentationDraws, Preprocessing, Uint8Images
from mnas.data.source import Batch, PixelBatch
from mnas.errors import DataError
from mnas.files import fingerprint_of


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Decoded images as an `ImageSource`.

    Ray puts the two arrays into shared memory, and every worker of a machine reads them there without a copy. They are
    never written to.

    Attributes:
        images: uint8 (count, image_size, image_size, channels).
        labels: int32 (count,).
        class_names: Name of each class; the position is the label.
        preprocessing: Augmentation and normalization of the images.
    """

    images: Uint8Images
    labels: npt.NDArray[np.int32]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        """Raise DataError if the arrays are of another form, or a label has no class."""
        images, labels, count = self.images, self.labels, len(self.class_names)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
            raise DataError(
                f"the images are {images.dtype} {images.shape}; they must be uint8 (count, size, size, channels)"
            )
        if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
            raise DataError(f"the labels are {labels.dtype} {labels.shape}; they must be int32 ({len(images)},)")
        if len(labels) and not (labels.min() >= 0 and labels.max() < count):
            raise DataError(
                f"the labels are {labels.min()} to {labels.max()}; with {count} class names they must be 0 to "
                f"{count - 1}"
            )
        if len(self.preprocessing.mean) != self.channels or len(self.preprocessing.std) != self.channels:
            raise DataError(
                f"the images have {self.channels} channels; `preprocessing` needs a mean and a std for each"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        """Height and width, in pixels."""
        return int(self.images.shape[1])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.images.shape[3])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def select(self, indices: npt.NDArray[np.int64]) -> "ImageArrays":
        """Return the images at these positions, copied."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def resized(self, image_size: int) -> "ImageArrays":
        """Return images of image_size x image_size pixels (bilinear); itself if they have that size."""
        if self.image_size == image_size:
            return self
        images = np.empty((len(self), image_size, image_size, self.channels), np.uint8)
        for source, target in zip(self.images, images, strict=True):
            picture = Image.fromarray(source.squeeze()).resize((image_size, image_size), Image.Resampling.BILINEAR)
            target[...] = np.asarray(picture).reshape(target.shape)
        return replace(self, images=images)

    def training_batches(
        self, batch_size: int, *, seed: int, epoch: int, batches: range | None = None
    ) -> Iterator[Batch]:
        """Yield one epoch of shuffled, augmented, full batches, or some of them; see `ImageSource`."""
        for images, flipped, labels in self.training_pixels(batch_size, seed=seed, epoch=epoch, batches=batches):
            yield self.preprocessing.finish(images, flipped), labels

    def training_pixels(
        self, batch_size: int, *, seed: int, epoch: int, batches: range | None = None
    ) -> Iterator[PixelBatch]:
        """Yield the same batches before they are mirrored and normalized; see `PixelSource`."""
        order = epoch_order(len(self), seed=seed, epoch=epoch)
        draws = AugmentationDraws.for_epoch(len(self), self.preprocessing, seed=seed, epoch=epoch)
        for batch in chosen_batches(len(self), batch_size, batches):
            part = slice(batch * batch_size, (batch + 1) * batch_size)
            chosen = order[part]
            cut = self.preprocessing.cut(self.images[chosen], draws[part])
            yield cut, draws.flipped[part], self.labels[chosen]

    def evaluation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every image once, in order; see `ImageSource`."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self.preprocessing.normalize(self.images[part]), self.labels[part]

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of pixels, labels and class names."""
        return fingerprint_of(self.images, self.labels, *self.class_names)

    def describe(self) -> str:
        """Return one line for people."""
        return (
            f"{len(self):,} images of {self.num_classes} classes, {self.image_size}x{self.image_size}"
            f"x{self.channels}, in memory ({self.images.nbytes / 1e6:,.1f} MB)"
        )
