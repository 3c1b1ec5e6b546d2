"""The division of a batch over processes, and in each process over micro-batches that fit its device."""

from __future__ import annotations

from dataclasses import dataclass

from mnas.errors import ConfigurationError, DataError


@dataclass(frozen=True)
class BatchPlan:
    """The division of one batch, as one process sees it.

    The batch is `batch_size / micro_batch_size` micro-batches. The processes take them in turn, and each adds up the
    gradients of its own. A batch norm sees one micro-batch. So neither the images of a step nor those of a batch norm
    depend on the number of processes. Only the moving statistics do: those of the first process are kept, as in MindCV.

    Attributes:
        batch_size: Images between two updates of the weights, over all processes.
        micro_batch_size: Images that go through a device at a time.
        rank: Number of this process, from 0.
        ranks: Number of all processes.

    Raises:
        ConfigurationError: The batch cannot be divided so.
    """

    batch_size: int
    micro_batch_size: int
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        images_at_once = self.micro_batch_size * self.ranks
        if self.batch_size % images_at_once:
            raise ConfigurationError(
                f"a batch of {self.batch_size} cannot be divided into micro-batches of {self.micro_batch_size} on "
                f"{self.ranks} device(s): it must be a multiple of {images_at_once}; change `micro_batch_size` or the "
                "number of devices, so that the batch size, and with it the learning rate, stays that of the recipe"
            )

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches in a batch, over all processes."""
        return self.batch_size // self.micro_batch_size

    @property
    def accumulated(self) -> int:
        """Number of micro-batches in a batch that this process takes."""
        return self.micro_batches // self.ranks

    def micro_batches_of(self, steps: range) -> range:
        """Return the micro-batches of these steps that this process takes.

        Steps and micro-batches are counted from the start of an epoch.
        """
        return range(steps.start * self.micro_batches + self.rank, steps.stop * self.micro_batches, self.ranks)


def check_fills_batch(images: int, batch_size: int) -> None:
    """Check that there are training images for one batch.

    Raises:
        DataError: There are not.
    """
    if images < batch_size:
        raise DataError(f"{images} training images do not fill one batch of {batch_size}; lower `batch_size`")
