"""The interface between data and training: labelled images in batches, wherever they are kept."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from mnas.data.image_form import ImageForm
from mnas.errors import DataError
from mnas.files import fingerprint_of
from search_space.lowering import LoweredNetwork

Batch: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]
"""Normalized images (count, channels, image_size, image_size) and their labels (count,)."""


class ImageSource(Protocol):
    """Labelled images that a training loop reads.

    Sources are immutable, and cheap to send to another process: large arrays travel out of band, files
    travel as names.
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
        """Number of images."""
        ...

    def training_batches(
        self, batch_size: int, *, seed: int, epoch: int, batches: range | None = None
    ) -> Iterator[Batch]:
        """Yield one epoch of shuffled, augmented, full batches; the tail that fills no batch is left out.

        The order depends on (seed, epoch) alone: not on the process, nor on earlier epochs. `batches` chooses some of
        the epoch's batches, those that remain after a resume or those of one of several processes.

        Raises:
            DataError: there are fewer images than one batch, or a file cannot be read as an image.
        """
        ...

    def evaluation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every image once, in order and not augmented; the last batch may be short.

        Raises:
            DataError: a file cannot be read as an image.
        """
        ...

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the content, by which a resumed run notices that its data changed."""
        ...

    def describe(self) -> str:
        """One line for people: count, classes, size and where the images are kept."""
        ...


@dataclass(frozen=True)
class SearchData:
    """What a search uses: images to train children on, and held-out training images for their reward."""

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
    """What full training uses: every training image, and the test set."""

    train: ImageSource
    test: ImageSource

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of both parts."""
        return fingerprint_of(self.train.fingerprint(), self.test.fingerprint())

    def describe(self) -> str:
        """Return two lines for people."""
        return f"training: {self.train.describe()}\ntest: {self.test.describe()}"


def check_source(network: LoweredNetwork, source: ImageSource) -> None:
    """Raise DataError unless `source` has images, and of the form that the network is lowered for."""
    given, needed = ImageForm.of(source), ImageForm.of(network)
    if given != needed:
        raise DataError(
            f"the data has (image size, channels, classes) = {astuple(given)}, the network is lowered for "
            f"{astuple(needed)}; make them equal"
        )
    if len(source) == 0:
        raise DataError("there are no images; give at least one")
