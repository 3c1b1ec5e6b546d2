import subprocess
import sys

import numpy as np
import pytest

from mnas.data import DigitsSettings, ImageArrays


def test_1437_digits_are_for_training_and_360_for_test() -> None:
    settings = DigitsSettings()
    assert (len(settings.load_training()), len(settings.load_test())) == (1437, 360)


def test_every_class_is_in_both_parts() -> None:
    for part in (DigitsSettings().load_training(), DigitsSettings().load_test()):
        assert np.bincount(part.labels).min() >= 30
        assert part.num_classes == 10


def test_grey_levels_are_spread_over_0_to_255() -> None:
    images = DigitsSettings().load_training().images
    assert images.shape == (1437, 8, 8, 1)
    assert images.dtype == np.uint8
    assert np.unique(images).tolist() == [round(level * 255 / 16) for level in range(17)]


def test_the_default_normalization_fits_the_training_images() -> None:
    arrays = DigitsSettings().load_training()
    (pixels, _), *_ = arrays.evaluation_batches(len(arrays))
    assert abs(pixels.mean()) < 0.01
    assert abs(pixels.std() - 1) < 0.01


def test_a_search_splits_the_training_images() -> None:
    data = DigitsSettings(reward_images=237, train_images=1000).load_search()
    assert (len(data.train), len(data.reward)) == (1000, 237)


def test_training_and_reward_images_are_different_images() -> None:
    data = DigitsSettings().load_search()
    assert isinstance(data.train, ImageArrays)
    assert isinstance(data.reward, ImageArrays)
    train, reward = ({image.tobytes() for image in part.images} for part in (data.train, data.reward))
    assert not train & reward


def test_full_training_uses_every_training_image_and_the_test_set() -> None:
    data = DigitsSettings(reward_images=237, train_images=1000).load_full()
    assert (len(data.train), len(data.test)) == (1437, 360)


def test_validation_of_the_digits_needs_no_files() -> None:
    test = DigitsSettings(image_size=16).load_test()
    assert (len(test), test.image_size) == (360, 16)


@pytest.mark.parametrize("size", [8, 24])
def test_arrays_are_resized_to_the_image_size(size: int) -> None:
    search, full = (
        DigitsSettings(image_size=size).load_search(),
        DigitsSettings(image_size=size).load_full(),
    )
    for source in (search.train, search.reward, full.train, full.test):
        (images, _), *_ = source.evaluation_batches(10)
        assert images.shape == (10, 1, size, size)


def test_loading_the_digits_imports_neither_mindspore_nor_ray() -> None:
    program = (
        "import sys; from mnas.data import DigitsSettings; "
        "DigitsSettings().load_search(); "
        "sys.exit('mindspore' in sys.modules or 'ray' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
