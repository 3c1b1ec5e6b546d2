"""The contract of `mnas.data.ImageSource`, as tests for a source of your own.

From a checkout of mnas, in a test file:

    from tests.mnas.data.source_contract import ImageSourceContract

    class TestMyPhotos(ImageSourceContract):
        @pytest.fixture(scope="class")
        def source(self) -> ImageSource:
            return load_photos(folder="photos").train

The source needs at least 16 images.
"""

import pickle
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mnas.data import Batch, ImageSource
from mnas.errors import DataError

BATCH_SIZE = 4

Array = npt.NDArray[Any]


def epoch(source: ImageSource, *, seed: int = 1, epoch: int = 0) -> list[Batch]:
    """Return the training batches of an epoch."""
    return list(source.training_batches(BATCH_SIZE, seed=seed, epoch=epoch))


def pixels(batches: list[Batch]) -> Array:
    """Return the images of all batches, one after the other."""
    return np.concatenate([images for images, _ in batches])


def labels(batches: list[Batch]) -> list[int]:
    """Return the labels of all batches, one after the other."""
    return [int(label) for _, batch in batches for label in batch]


def contents(batches: list[Batch]) -> "Counter[tuple[bytes, int]]":
    """Count the pairs of an image and its label."""
    return Counter(
        (image.tobytes(), int(label)) for images, batch in batches for image, label in zip(images, batch, strict=True)
    )


class ImageSourceContract:
    """What training and evaluation rely on; a subclass gives the fixture `source`."""

    @pytest.fixture
    def source(self) -> ImageSource:
        """Return the source to test."""
        raise NotImplementedError("give a fixture called `source`")

    def test_training_batches_are_full_float32_nchw(self, source: ImageSource) -> None:
        shape = (BATCH_SIZE, source.channels, source.image_size, source.image_size)
        for images, _ in epoch(source):
            assert images.shape == shape
            assert images.dtype == np.float32
            assert images.flags.c_contiguous

    def test_labels_are_int32_class_numbers(self, source: ImageSource) -> None:
        assert source.num_classes == len(source.class_names)
        for _, batch in epoch(source) + list(source.evaluation_batches(BATCH_SIZE)):
            assert batch.dtype == np.int32
            assert batch.min() >= 0
            assert batch.max() < source.num_classes

    def test_an_epoch_leaves_out_less_than_a_batch(self, source: ImageSource) -> None:
        assert len(epoch(source)) == len(source) // BATCH_SIZE

    def test_the_same_seed_and_epoch_give_the_same_batches(self, source: ImageSource) -> None:
        first, second = epoch(source, seed=3, epoch=2), epoch(source, seed=3, epoch=2)
        assert np.array_equal(pixels(first), pixels(second))
        assert labels(first) == labels(second)

    def test_another_epoch_has_another_order(self, source: ImageSource) -> None:
        assert not np.array_equal(pixels(epoch(source, epoch=0)), pixels(epoch(source, epoch=1)))

    def test_another_seed_has_another_order(self, source: ImageSource) -> None:
        assert not np.array_equal(pixels(epoch(source, seed=1)), pixels(epoch(source, seed=2)))

    def test_an_epoch_can_be_left_early(self, source: ImageSource) -> None:
        batches = source.training_batches(BATCH_SIZE, seed=1, epoch=0)
        first, _ = next(iter(batches))
        del batches
        assert np.array_equal(first, epoch(source)[0][0])

    @pytest.mark.parametrize("chosen", [range(1, 4), range(1, 4, 2), range(0)], ids=["a stretch", "some", "none"])
    def test_some_batches_of_an_epoch_are_those_of_the_whole(self, source: ImageSource, chosen: range) -> None:
        whole = epoch(source, seed=2)
        part = list(source.training_batches(BATCH_SIZE, seed=2, epoch=0, batches=chosen))
        assert labels(part) == labels([whole[index] for index in chosen])
        for (images, _), index in zip(part, chosen, strict=True):
            np.testing.assert_array_equal(images, whole[index][0])

    def test_a_batch_beyond_the_epoch_is_refused(self, source: ImageSource) -> None:
        available = len(source) // BATCH_SIZE
        with pytest.raises(IndexError):
            next(iter(source.training_batches(BATCH_SIZE, seed=1, epoch=0, batches=range(available, available + 1))))

    def test_the_order_does_not_depend_on_the_batch_size(self, source: ImageSource) -> None:
        small = labels(epoch(source))
        large = labels(list(source.training_batches(6, seed=1, epoch=0)))
        common = min(len(small), len(large))
        assert small[:common] == large[:common]

    def test_evaluation_sees_every_image_and_ends_with_a_short_batch(self, source: ImageSource) -> None:
        sizes = [len(batch) for _, batch in source.evaluation_batches(7)]
        assert sum(sizes) == len(source)
        assert sizes[:-1] == [7] * (len(sizes) - 1)

    def test_evaluation_order_is_stable_and_independent_of_the_batch_size(self, source: ImageSource) -> None:
        first, second = list(source.evaluation_batches(7)), list(source.evaluation_batches(BATCH_SIZE))
        assert np.array_equal(pixels(first), pixels(second))
        assert labels(first) == labels(second)

    def test_a_batch_larger_than_the_data_is_refused(self, source: ImageSource) -> None:
        with pytest.raises(DataError):
            next(iter(source.training_batches(len(source) + 1, seed=1, epoch=0)))

    def test_describe_gives_one_line(self, source: ImageSource) -> None:
        assert len(source.describe().splitlines()) == 1

    def test_a_source_arrives_in_another_process_as_it_was(self, source: ImageSource) -> None:
        arrived: ImageSource = pickle.loads(pickle.dumps(source))
        assert arrived.fingerprint() == source.fingerprint()
        assert np.array_equal(pixels(epoch(arrived)), pixels(epoch(source)))
