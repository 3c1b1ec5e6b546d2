"""Deterministic orders: which images are held out, and in which order an epoch visits the rest.

They are sorted raw draws of a bit generator. NumPy promises that those never change, unlike the results of
`Generator.permutation`, so a split made by one release of NumPy is the split of the next.
"""

import numpy as np
import numpy.typing as npt

from mnas.errors import DataError


def random_order(count: int, *key: int) -> npt.NDArray[np.int64]:
    """Return a permutation of 0 .. count - 1 that depends on the key (non-negative integers) alone."""
    draws = np.random.PCG64(np.random.SeedSequence(key)).random_raw(count)
    return np.argsort(draws, kind="stable")


def epoch_order(count: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order in which this epoch visits `count` images."""
    return random_order(count, seed, epoch)


def full_batches(count: int, batch_size: int) -> int:
    """Return the number of full batches in an epoch.

    Raises:
        DataError: Not even one batch can be filled.
    """
    if count < batch_size:
        raise DataError(
            f"a batch of {batch_size} cannot be filled from {count} training images: "
            "lower the batch size or raise the number of training images"
        )
    return count // batch_size


def chosen_batches(count: int, batch_size: int, batches: range | None) -> range:
    """Return the batches of an epoch that are wanted, checked; all of them for None.

    Raises:
        DataError: Not even one batch can be filled.
        IndexError: The epoch has no such batch.
    """
    available = full_batches(count, batch_size)
    if batches is None:
        return range(available)
    if len(batches) and not (min(batches) >= 0 and max(batches) < available):
        raise IndexError(f"{batches} goes beyond the {available} batches of an epoch")
    return batches
