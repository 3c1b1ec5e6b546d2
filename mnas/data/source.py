"""The interface between data and training: labelled images in batches."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from mnas.data.image_form import ImageForm
from mnas.data.preprocessing import Preprocessing, Uint8Images
from mnas.errors import DataError
from mnas.files import fingerprint_of
from search_space.lowering import LoweredNetwork

Batch: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]
"""Normalized images (count, channels, image_size, image_size) and their labels (count,)."""

PixelBatch: TypeAlias = tuple[Uint8Images, npt.NDArray[np.bool_], npt.NDArray[np.int32]]
"""uint8 images of the same shape, whether to mirror each (count,), and their labels (count,)."""


class ImageSource(Protocol):
    """Labelled images that a training loop reads.

    Sources are immutable, and cheap to send to another process: large arrays travel out of band, files travel as names.
    A source may have an attribute `preprocessing` (`Preprocessing`): exports and checkpoints keep its mean and standard
    deviation.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class; the position is the label."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are 0 .. num_classes - 1."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width of the batches' images, in pixels."""
        ...

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def training_batches(
        self, batch_size: int, *, seed: int, epoch: int, batches: range | None = None
    ) -> Iterator[Batch]:
        """Yield one epoch of shuffled, augmented, full batches; the tail that fills no batch is left out.

        The order depends on (seed, epoch) alone, not on the process or on earlier epochs.

        Args:
            batch_size: Images in a batch.
            seed: Chooses the order and the augmentation.
            epoch: Number of the epoch, from 0.
            batches: Some of the epoch's batches: those that remain after a resume, or those of one of several
                processes. None for all of them.

        Raises:
            DataError: There are fewer images than one batch, or a file cannot be read as an image.
            IndexError: The epoch has no such batch.
        """
        ...

    def evaluation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every image once, in order and not augmented; the last batch may be short.

        Raises:
            DataError: A file cannot be read as an image.
        """
        ...

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the content, by which a resumed run notices that its data changed."""
        ...

    def describe(self) -> str:
        """Return one line for people: count, classes, size and where the images are kept."""
        ...


@runtime_checkable
class PixelSource(ImageSource, Protocol):
    """A source that can leave mirroring and normalizing to an NPU, which it then sends bytes instead of floats."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are mirrored and normalized."""
        ...

    def training_pixels(
        self, batch_size: int, *, seed: int, epoch: int, batches: range | None = None
    ) -> Iterator[PixelBatch]:
        """Yield what `preprocessing.finish` turns into the `training_batches` of the same arguments.

        Raises what `training_batches` raises.
        """
        ...


@dataclass(frozen=True)
class SearchData:
    """The images of a search.

    Attributes:
        train: Images that children are trained on.
        reward: Held-out training images that their reward is computed on.
    """

    train: ImageSource
    reward: ImageSource

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of both parts."""
        return fingerprint_of(self.train.fingerprint(), self.reward.fingerprint())

    def describe(self) -> str:
        """Return two lines for people."""
        return f"training: {self.train.describe()}\nreward: {self.reward.describe()}"


@dataclass(frozen=True)
class FullData:
    """The images of full training.

    Attributes:
        train: Every training image, less those of `validation`.
        test: The test set.
        validation: Training images that are held out to validate on; None if the test set validates.
    """

    train: ImageSource
    test: ImageSource
    validation: ImageSource | None = None

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the parts."""
        parts = [self.train, self.test] + ([] if self.validation is None else [self.validation])
        return fingerprint_of(*(part.fingerprint() for part in parts))

    def describe(self) -> str:
        """Return a line for each part, for people."""
        held_out = "" if self.validation is None else f"\nvalidation: {self.validation.describe()}"
        return f"training: {self.train.describe()}\ntest: {self.test.describe()}{held_out}"


def check_source(network: LoweredNetwork, source: ImageSource) -> None:
    """Raise DataError if `source` has no images, or images of another form than the network takes."""
    given, needed = ImageForm.of(source), ImageForm.of(network)
    if given != needed:
        raise DataError(
            f"the data has (image size, channels, classes) = {astuple(given)}, the network is lowered for "
            f"{astuple(needed)}; make them equal"
        )
    if len(source) == 0:
        raise DataError("there are no images; give at least one")
