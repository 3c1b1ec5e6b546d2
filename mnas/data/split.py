"""The reward set: images held out of the training data, so that the search never sees the test set."""

import numpy as np
import numpy.typing as npt

from mnas.data.order import random_order
from mnas.errors import DataError

Indices = npt.NDArray[np.int64]


def split_training(
    labels: npt.NDArray[np.int32], *, reward_images: int, train_images: int | None, split_seed: int
) -> tuple[Indices, Indices]:
    """Choose the images that children train on and those that compute their reward.

    Both choices are stratified: each class gets its share of the images to within one. They depend only on the order
    of the images, the seed and the counts; the reward set does not depend on `train_images`.

    Args:
        labels: Label of each image of the training data, in its order.
        reward_images: Size of the reward set.
        train_images: Images to train on, out of those that remain; None for all of them.
        split_seed: Chooses the images.

    Returns:
        Two disjoint, increasing arrays of positions: (train, reward).

    Raises:
        DataError: More images are asked for than there are.
    """
    available = len(labels) - reward_images
    if available < 1:
        raise DataError(
            f"reward_images is {reward_images}, but the training data has {len(labels)} images "
            f"and at least one must remain to train on: lower it to {max(len(labels) - 1, 0)} or less"
        )
    if train_images is not None and train_images > available:
        raise DataError(
            f"train_images is {train_images}, but {len(labels)} training images less "
            f"{reward_images} reward images leave {available}: "
            f"lower train_images to {available} or less, or leave it out to use all"
        )
    order = random_order(len(labels), split_seed)
    reward, rest = _take_stratified(order, labels, reward_images)
    train = rest if train_images is None else _take_stratified(rest, labels, train_images)[0]
    return np.sort(train), np.sort(reward)


def _take_stratified(order: Indices, labels: npt.NDArray[np.int32], count: int) -> tuple[Indices, Indices]:
    """Return the first images of each class in this order, `count` in all, and the other ones."""
    ordered_labels = labels[order]
    class_sizes = np.bincount(ordered_labels)
    quotas = _apportion(class_sizes, count)
    rank_in_class = np.empty(len(order), np.int64)
    for label in np.flatnonzero(class_sizes):
        rank_in_class[ordered_labels == label] = np.arange(class_sizes[label])
    taken = rank_in_class < quotas[ordered_labels]
    return order[taken], order[~taken]


def _apportion(class_sizes: Indices, count: int) -> Indices:
    """Divide `count` among classes in proportion to their sizes (largest remainder; ties: lower label)."""
    shares = class_sizes * count
    quotas, remainders = np.divmod(shares, class_sizes.sum())
    leftover = count - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:leftover]] += 1
    return quotas
