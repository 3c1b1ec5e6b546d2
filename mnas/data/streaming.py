"""Images that are read and decoded again in every epoch, by the C++ threads of mindspore.dataset."""

import os
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mnas.data.decoding import broken_files, encoded_rgb
from mnas.data.folder import FileListing
from mnas.data.image_form import Interpolation
from mnas.data.order import chosen_batches, epoch_order
from mnas.data.preprocessing import AugmentationDraws, Preprocessing, Uint8Images
from mnas.data.source import Batch, PixelBatch
from mnas.errors import DataError
from mnas.mindspore_setup import set_mindspore_environment

# Inception's random part of a picture: fraction of the area, and width / height.
CROP_AREA = (0.08, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)

_SEEDING = threading.Lock()


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Image files as an `ImageSource`.

    Attributes:
        listing: The files.
        image_size: Height and width of the batches' images, in pixels.
        random_parts: Training cuts a random part out of each picture (Inception), not the centred square.
        color_jitter: Largest change of brightness, contrast and saturation, as a share.
        interpolation: Filter that pictures are resized with.
        evaluation_crop: Side of the centred square that evaluation sees, as a fraction of the shorter side.
        workers: Threads that decode.
        preprocessing: Augmentation and normalization of the decoded images.
    """

    listing: FileListing
    image_size: int
    random_parts: bool
    color_jitter: float
    interpolation: Interpolation
    evaluation_crop: float
    workers: int
    preprocessing: Preprocessing

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class; the position is the label."""
        return self.listing.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """3: files are decoded to RGB."""
        return 3

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.listing)

    def training_batches(
        self, batch_size: int, *, seed: int, epoch: int, batches: range | None = None
    ) -> Iterator[Batch]:
        """Yield one epoch of shuffled, augmented, full batches, or some of them; see `ImageSource`.

        The random parts and changes of colour repeat for the same (seed, epoch, batches) if the number of workers is
        the same too.
        """
        for images, flipped, labels in self.training_pixels(batch_size, seed=seed, epoch=epoch, batches=batches):
            yield self.preprocessing.finish(images, flipped), labels

    def training_pixels(
        self, batch_size: int, *, seed: int, epoch: int, batches: range | None = None
    ) -> Iterator[PixelBatch]:
        """Yield the same batches before they are mirrored and normalized; see `PixelSource`."""
        set_mindspore_environment()
        batches = chosen_batches(len(self), batch_size, batches)
        order = epoch_order(len(self), seed=seed, epoch=epoch)
        parts = [slice(batch * batch_size, (batch + 1) * batch_size) for batch in batches]
        if not parts:
            return
        listing = self.listing.select(np.concatenate([order[part] for part in parts]))
        draws = AugmentationDraws.for_epoch(len(self), self.preprocessing, seed=seed, epoch=epoch)
        crop_seed = int(np.random.SeedSequence([seed, epoch, 2, batches.start]).generate_state(1)[0])
        decoded = self._decoded(listing, self._training_operations(), batch_size, crop_seed)
        for part, (start, images) in zip(parts, decoded, strict=True):
            cut = self.preprocessing.cut(images, draws[part])
            yield cut, draws.flipped[part], listing.labels[start : start + batch_size]

    def evaluation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every image once, in order; see `ImageSource`."""
        set_mindspore_environment()
        operations = self._centred_square(self.evaluation_crop)
        for start, images in self._decoded(self.listing, operations, batch_size, crop_seed=0):
            yield self.preprocessing.normalize(images), self.listing.labels[start : start + len(images)]

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the files' names, sizes and labels."""
        return self.listing.fingerprint()

    def describe(self) -> str:
        """Return one line for people."""
        return (
            f"{len(self):,} images of {self.num_classes} classes, {self.image_size}x{self.image_size}x3, "
            f"streamed from {self.listing.directory}"
        )

    def _training_operations(self) -> list[Any]:
        from mindspore.dataset import vision

        if not self.random_parts:
            return self._centred_square(1.0)
        crop = vision.RandomCropDecodeResize(self.image_size, CROP_AREA, CROP_ASPECT, self._filter())
        jitter = (1 - self.color_jitter, 1 + self.color_jitter)
        return [crop, vision.RandomColorAdjust(jitter, jitter, jitter)] if self.color_jitter else [crop]

    def _filter(self) -> Any:
        from mindspore.dataset.vision import Inter

        return {"bilinear": Inter.LINEAR, "bicubic": Inter.BICUBIC}[self.interpolation]

    def _centred_square(self, crop_fraction: float) -> list[Any]:
        from mindspore.dataset import vision

        shorter_side = round(self.image_size / crop_fraction)
        return [vision.Decode(), vision.Resize(shorter_side, self._filter()), vision.CenterCrop(self.image_size)]

    def _decoded(
        self, listing: FileListing, operations: Sequence[Any], batch_size: int, crop_seed: int
    ) -> Iterator[tuple[int, Uint8Images]]:
        """Yield (position of the first image, images NHWC) of each batch, in the order of the listing."""
        from mindspore import dataset

        # MindSpore refuses more threads than there are cores.
        workers = min(self.workers, os.cpu_count() or 1)
        with _pipeline_seed(crop_seed):
            # One reader: several would wait for each other's turns at Python's lock (5 times slower).
            pipeline = dataset.GeneratorDataset(
                _Reader(listing),
                ["image"],
                shuffle=False,
                num_parallel_workers=1,
                python_multiprocessing=False,
            )
            pipeline = pipeline.map(operations, ["image"], num_parallel_workers=workers)
            pipeline = pipeline.batch(batch_size)
            batches = pipeline.create_tuple_iterator(num_epochs=1, output_numpy=True)
        done = 0
        try:
            for (images,) in batches:
                yield done, images
                done += len(images)
        except RuntimeError as error:
            raise _culprit(listing, done, workers, error) from error
        finally:
            batches.stop()


class _Reader:
    """Encoded images by position, for GeneratorDataset."""

    def __init__(self, listing: FileListing) -> None:
        self._listing = listing

    def __len__(self) -> int:
        return len(self._listing)

    def __getitem__(self, position: int) -> tuple[npt.NDArray[np.uint8]]:
        return (encoded_rgb(self._listing.path(int(position))),)


def _culprit(listing: FileListing, done: int, workers: int, error: RuntimeError) -> DataError:
    """Return the error of the first file that Pillow cannot decode: MindSpore tells what went wrong, not where."""
    remaining = listing.select(np.arange(done, len(listing)))
    for broken in broken_files(remaining, workers):
        return broken
    return DataError(
        f"{listing.directory}: MindSpore could not decode one of the images from {listing.path(done)} on, "
        f"although Pillow can: convert the folder's images to plain RGB JPEG. MindSpore says: {error}"
    )


@contextmanager
def _pipeline_seed(seed: int) -> Iterator[None]:
    """Seed the pipelines built inside. MindSpore seeds Python and NumPy globally too: all of it is undone.

    One thread at a time: with data sinking, a thread of MindSpore's builds training pipelines while this one validates.
    """
    from mindspore.dataset import config

    with _SEEDING:
        previous, python_state, numpy_state = config.get_seed(), random.getstate(), np.random.get_state()
        config.set_seed(seed)
        try:
            yield
        finally:
            config.set_seed(previous)
            random.setstate(python_state)
            np.random.set_state(numpy_state)
