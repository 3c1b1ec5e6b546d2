"""How a batch is divided: over processes, and in each of them over micro-batches that fit its device."""

from __future__ import annotations

from dataclasses import dataclass

from mnas.errors import ConfigurationError


@dataclass(frozen=True)
class BatchPlan:
    """The division of one batch, as the process `rank` of `ranks` sees it.

    The batch is `batch_size / micro_batch_size` micro-batches; the processes take them in turn, and each adds up the
    gradients of its own. Batch norms see micro-batches. So neither the images of a step nor those of a batch norm
    depend on the number of processes. Only the moving statistics do: kept are those of the first process, as in MindCV.

    Raises ConfigurationError where the batch cannot be divided so.
    """

    batch_size: int
    micro_batch_size: int
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        together = self.micro_batch_size * self.ranks
        if self.batch_size % together:
            raise ConfigurationError(
                f"a batch of {self.batch_size} cannot be divided into micro-batches of {self.micro_batch_size} on "
                f"{self.ranks} device(s): it must be a multiple of {together}; change `micro_batch_size` or the number "
                "of devices, so that the batch and with it the learning rate stay as the recipe has them"
            )

    @property
    def micro_batches(self) -> int:
        """Micro-batches in a batch, over all processes."""
        return self.batch_size // self.micro_batch_size

    @property
    def accumulated(self) -> int:
        """Micro-batches in a batch that this process takes."""
        return self.micro_batches // self.ranks

    def micro_batches_of(self, steps: range) -> range:
        """Return the micro-batches of consecutive steps that this process takes, counted from the start of an epoch."""
        return range(steps.start * self.micro_batches + self.rank, steps.stop * self.micro_batches, self.ranks)
