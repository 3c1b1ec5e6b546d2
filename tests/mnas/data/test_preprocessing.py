from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mnas.data.preprocessing import AugmentationDraws, Preprocessing

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)

Array = npt.NDArray[Any]


def augmented(preprocessing: Preprocessing, images: Array, draws: AugmentationDraws) -> Array:
    return preprocessing.finish(preprocessing.cut(images, draws), draws.flipped)


@pytest.fixture
def images() -> Array:
    images = np.random.default_rng(0).integers(256, size=(50, 6, 6, 3), dtype=np.uint8)
    images.flags.writeable = False
    return images


def test_normalize_is_the_textbook_formula_in_nchw(images: Array) -> None:
    normalized = Preprocessing(crop=0, flip=False, mean=MEAN, std=STD).normalize(images)
    expected = ((images / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized, expected, atol=1e-5)


def test_augment_crops_and_flips_each_image_as_drawn(images: Array) -> None:
    preprocessing = Preprocessing(crop=2, flip=True, mean=MEAN, std=STD)
    draws = AugmentationDraws.for_epoch(len(images), preprocessing, seed=0, epoch=0)
    expected = []
    for image, top, left, flipped in zip(images, draws.top, draws.left, draws.flipped, strict=True):
        crop = np.pad(image, ((2, 2), (2, 2), (0, 0)))[top : top + 6, left : left + 6]
        expected.append(crop[:, ::-1] if flipped else crop)
    assert np.array_equal(augmented(preprocessing, images, draws), preprocessing.normalize(np.stack(expected)))


def test_without_crop_and_flip_augmenting_is_normalizing(images: Array) -> None:
    preprocessing = Preprocessing(crop=0, flip=False, mean=MEAN, std=STD)
    draws = AugmentationDraws.for_epoch(len(images), preprocessing, seed=0, epoch=0)
    assert np.array_equal(augmented(preprocessing, images, draws), preprocessing.normalize(images))


def test_flipping_grey_images_leaves_the_given_array_unchanged() -> None:
    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)
    before = images.copy()
    flip_all = AugmentationDraws(np.zeros(2, int), np.zeros(2, int), np.ones(2, bool))
    augmented(Preprocessing(crop=0, flip=True, mean=(0.5,), std=(0.5,)), images, flip_all)
    assert np.array_equal(images, before)


def test_draws_cover_every_position_and_both_directions() -> None:
    preprocessing = Preprocessing(crop=2, flip=True, mean=MEAN, std=STD)
    draws = AugmentationDraws.for_epoch(1000, preprocessing, seed=0, epoch=0)
    assert np.unique(draws.top).tolist() == np.unique(draws.left).tolist() == [0, 1, 2, 3, 4]
    assert 400 < draws.flipped.sum() < 600


def test_draws_differ_between_epochs() -> None:
    preprocessing = Preprocessing(crop=2, flip=True, mean=MEAN, std=STD)
    first, second = (AugmentationDraws.for_epoch(100, preprocessing, seed=0, epoch=epoch) for epoch in (0, 1))
    assert not np.array_equal(first.flipped, second.flipped)
