"""The way of training batches from a source to the device that trains.

On the CPU the thread that takes the steps prepares each batch itself, down to normalized float32: it waits for no
device, and a worker has one core. An NPU computes while the host prepares. Images travel there as uint8, a quarter of
the bytes, and what remains to be done is done in the graph (`mnas.training.image_preparation`). Batches of images in
memory are prepared ahead by a thread of their own; streamed files are decoded ahead by MindSpore. `feed_for` chooses
all this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from mnas.data import ImageSource, PixelSource, StreamedImages
from mnas.mindspore_setup import Device

if TYPE_CHECKING:
    from mindspore.nn import Cell

Arrays: TypeAlias = tuple[npt.NDArray[np.generic], ...]
Item = TypeVar("Item")

# The last one is in preparation while the others are ready: enough for batches that take unequal times, and with 256
# images of 224 pixels 120 MB.
BATCHES_AHEAD = 3
THREAD_NAME = "mnas-batches"


@dataclass(frozen=True)
class Feed:
    """How training batches reach a device; see `feed_for`.

    Attributes:
        source: The images and their labels.
        pixels: The source if images travel as uint8, to be mirrored and normalized in the graph; None if not.
        ahead: Batches that a thread of its own prepares ahead of the steps; 0 leaves it to the thread of the steps.
    """

    source: ImageSource
    pixels: PixelSource | None = None
    ahead: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays of a batch."""
        return ("images", "labels") if self.pixels is None else ("images", "flipped", "labels")

    def batches(self, batch_size: int, *, seed: int, epoch: int, batches: range) -> Iterator[Arrays]:
        """Yield the arrays of these batches of an epoch; see `ImageSource.training_batches`."""
        if self.pixels is None:
            return self.source.training_batches(batch_size, seed=seed, epoch=epoch, batches=batches)
        return self.pixels.training_pixels(batch_size, seed=seed, epoch=epoch, batches=batches)

    def placeholders(self, batch_size: int) -> Arrays:
        """Return arrays of the form of a batch, to compile with."""
        shape = (batch_size, self.source.channels, self.source.image_size, self.source.image_size)
        labels = np.zeros(batch_size, np.int32)
        if self.pixels is None:
            return np.zeros(shape, np.float32), labels
        return np.zeros(shape, np.uint8), np.zeros(batch_size, np.bool_), labels

    def cell(self, step: Cell) -> Cell:
        """Return the cell that takes the arrays of a batch in place of a step's images and labels."""
        if self.pixels is None:
            return step
        from mnas.training.image_preparation import PixelStep

        return PixelStep(step, self.pixels.preprocessing)

    def prepared(self, items: Generator[Item, None, None]) -> AbstractContextManager[Iterator[Item]]:
        """Return a context of these items, prepared ahead or not; at its end `items` is closed."""
        return closing(prepared_ahead(items, self.ahead) if self.ahead else items)


def feed_for(source: ImageSource, device: Device) -> Feed:
    """Return how batches of a source reach a device."""
    if device == "CPU":
        return Feed(source)
    # MindSpore decodes streamed files ahead in threads of its own. Read in a thread of ours, the second unreadable
    # image of a process ends it (segmentation fault in its error path, MindSpore 2.10.0).
    ahead = 0 if isinstance(source, StreamedImages) else BATCHES_AHEAD
    return Feed(source, source if isinstance(source, PixelSource) else None, ahead)


def prepared_ahead(items: Generator[Item, None, None], count: int) -> Generator[Item, None, None]:
    """Yield the items of a generator that runs in a thread of its own, up to `count` items ahead.

    What it raises is raised here, after the items before it. When this generator ends, for whatever reason, the thread
    has ended and `items` is closed: it waits for the item in preparation.
    """
    thread = ThreadPoolExecutor(1, THREAD_NAME)
    try:
        coming = deque(thread.submit(next, items) for _ in range(count))
        while True:
            try:
                item = coming.popleft().result()
            except StopIteration:
                return
            coming.append(thread.submit(next, items))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        items.close()
