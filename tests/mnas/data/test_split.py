from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.data import split_training
from mnas.errors import DataError

Array = npt.NDArray[Any]


@st.composite
def splits(draw: st.DrawFn) -> tuple[Array, int, int | None, int]:
    """Labels of at least two images, counts that can be met, and a seed."""
    labels = np.array(draw(st.lists(st.integers(0, 5), min_size=2, max_size=200)), np.int32)
    reward_images = draw(st.integers(1, len(labels) - 1))
    train_images = draw(st.none() | st.integers(1, len(labels) - reward_images))
    return labels, reward_images, train_images, draw(st.integers(0, 2**32 - 1))


def split(labels: Array, reward_images: int, train_images: int | None, seed: int) -> tuple[Array, Array]:
    return split_training(labels, reward_images=reward_images, train_images=train_images, split_seed=seed)


@given(splits())
def test_counts_are_as_asked(arguments: tuple[Array, int, int | None, int]) -> None:
    labels, reward_images, train_images, _ = arguments
    train, reward = split(*arguments)
    assert len(reward) == reward_images
    assert len(train) == (len(labels) - reward_images if train_images is None else train_images)


@given(splits())
def test_no_image_is_in_both_parts_or_twice_in_one(
    arguments: tuple[Array, int, int | None, int],
) -> None:
    both = np.concatenate(split(*arguments))
    assert len(np.unique(both)) == len(both)


@given(splits())
def test_positions_are_valid_and_increase(arguments: tuple[Array, int, int | None, int]) -> None:
    for part in split(*arguments):
        assert np.all(np.diff(part) > 0)
        assert part.min() >= 0
        assert part.max() < len(arguments[0])


@given(splits())
def test_each_class_gets_its_share_to_within_one(arguments: tuple[Array, int, int | None, int]) -> None:
    labels, reward_images, train_images, _ = arguments
    train, reward = split(*arguments)
    sizes = np.bincount(labels, minlength=6)
    in_reward = np.bincount(labels[reward], minlength=6)
    assert np.all(np.abs(in_reward - sizes * reward_images / len(labels)) < 1)
    if train_images is not None:
        remaining = sizes - in_reward
        in_train = np.bincount(labels[train], minlength=6)
        assert np.all(np.abs(in_train - remaining * train_images / remaining.sum()) < 1)


@given(splits())
def test_the_same_arguments_give_the_same_split(arguments: tuple[Array, int, int | None, int]) -> None:
    for first, second in zip(split(*arguments), split(*arguments), strict=True):
        assert np.array_equal(first, second)


@given(splits())
def test_the_reward_set_does_not_depend_on_the_number_of_training_images(
    arguments: tuple[Array, int, int | None, int],
) -> None:
    labels, reward_images, _, seed = arguments
    assert np.array_equal(split(*arguments)[1], split(labels, reward_images, None, seed)[1])


def test_another_seed_gives_another_reward_set() -> None:
    labels = np.repeat(np.arange(10, dtype=np.int32), 20)
    assert not np.array_equal(split(labels, 50, None, 0)[1], split(labels, 50, None, 1)[1])


def test_a_reward_set_that_leaves_no_training_image_is_refused() -> None:
    labels = np.zeros(10, np.int32)
    with pytest.raises(
        DataError, match=r"reward_images is 10, but the training data has 10 images .* 9 or less"
    ):
        split(labels, 10, None, 0)


def test_more_training_images_than_remain_are_refused() -> None:
    labels = np.zeros(10, np.int32)
    message = (
        "train_images is 8, but 10 training images less 3 reward images leave 7: lower train_images to 7"
    )
    with pytest.raises(DataError, match=message):
        split(labels, 3, 8, 0)
