import numpy as np

from mnas.data import DigitsSettings
from mnas.data.digits import load_test, load_training


def test_1437_digits_are_for_training_and_360_for_test() -> None:
    settings = DigitsSettings()
    assert (len(load_training(settings)), len(load_test(settings))) == (1437, 360)


def test_every_class_is_in_both_parts() -> None:
    for part in (load_training(DigitsSettings()), load_test(DigitsSettings())):
        assert np.bincount(part.labels).min() >= 30
        assert part.num_classes == 10


def test_grey_levels_are_spread_over_0_to_255() -> None:
    images = load_training(DigitsSettings()).images
    assert images.shape == (1437, 8, 8, 1)
    assert images.dtype == np.uint8
    assert np.unique(images).tolist() == [round(level * 255 / 16) for level in range(17)]


def test_the_default_normalization_fits_the_training_images() -> None:
    arrays = load_training(DigitsSettings())
    (pixels, _), *_ = arrays.evaluation_batches(len(arrays))
    assert abs(pixels.mean()) < 0.01
    assert abs(pixels.std() - 1) < 0.01
