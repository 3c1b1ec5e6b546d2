import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from mnas.data import (
    DigitsSettings,
    ImageArrays,
    ImageFolderSettings,
    StreamedImages,
    load_full_data,
    load_search_data,
    load_test_data,
)
from mnas.errors import DataError

MakeFolder = Callable[..., Path]


@pytest.fixture
def directory(tmp_path: Path, make_folder: MakeFolder) -> Path:
    return make_folder(tmp_path / "data")


def settings(directory: Path, **options: object) -> ImageFolderSettings:
    defaults = {"directory": str(directory), "image_size": 16, "augment": "crop_flip", "reward_images": 6}
    return msgspec.convert(defaults | options, ImageFolderSettings)


def test_a_search_splits_the_training_images() -> None:
    data = load_search_data(DigitsSettings(reward_images=237, train_images=1000))
    assert (len(data.train), len(data.reward)) == (1000, 237)


def test_training_and_reward_images_are_different_images() -> None:
    data = load_search_data(DigitsSettings())
    assert isinstance(data.train, ImageArrays)
    assert isinstance(data.reward, ImageArrays)
    train, reward = ({image.tobytes() for image in part.images} for part in (data.train, data.reward))
    assert not train & reward


def test_full_training_uses_every_training_image_and_the_test_set() -> None:
    data = load_full_data(DigitsSettings(reward_images=237, train_images=1000))
    assert (len(data.train), len(data.test)) == (1437, 360)


def test_a_search_works_without_a_test_folder(tmp_path: Path, make_folder: MakeFolder) -> None:
    data = load_search_data(settings(make_folder(tmp_path, parts=("train",))))
    assert (len(data.train), len(data.reward)) == (18, 6)


def test_a_search_needs_to_be_told_how_many_images_to_hold_out(directory: Path) -> None:
    with pytest.raises(DataError, match=r"`data\.reward_images` is missing"):
        load_search_data(settings(directory, reward_images=None))


def test_a_search_reads_no_test_file(directory: Path) -> None:
    for path in (directory / "test").rglob("*.png"):
        path.write_bytes(b"broken")
    data = load_search_data(settings(directory))
    assert sum(len(labels) for _, labels in data.reward.evaluation_batches(4)) == 6
    with pytest.raises(DataError, match=r"test/ant/0\.png: cannot be read"):
        load_full_data(settings(directory))


def test_a_search_never_lists_the_test_folder(directory: Path) -> None:
    (directory / "test").rename(directory / "elsewhere")
    (directory / "test").write_text("not a folder")
    load_search_data(settings(directory))


def test_full_training_needs_a_test_folder(tmp_path: Path, make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="has no `test` or `val` folder"):
        load_full_data(settings(make_folder(tmp_path, parts=("train",))))


def test_validation_reads_the_test_set_alone(tmp_path: Path, make_folder: MakeFolder) -> None:
    directory = make_folder(tmp_path, parts=("test",))
    test = load_test_data(settings(directory))
    assert len(test) == 24
    assert test.class_names == ("ant", "bee", "cow")


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_validation_sees_the_images_that_full_training_validates_on(directory: Path, storage: str) -> None:
    asked = settings(directory, storage=storage, evaluation_crop=0.875)
    alone, beside = load_test_data(asked), load_full_data(asked).test
    assert type(alone) is type(beside)
    for (images, labels), (others, other_labels) in zip(
        alone.evaluation_batches(8), beside.evaluation_batches(8), strict=True
    ):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)


def test_validation_of_the_digits_needs_no_files() -> None:
    test = load_test_data(DigitsSettings(image_size=16))
    assert (len(test), test.image_size) == (360, 16)


def test_classes_that_a_network_was_not_trained_on_are_refused(directory: Path) -> None:
    with pytest.raises(DataError, match=r"missing dog; not in training bee, cow"):
        load_test_data(settings(directory), class_names=("ant", "dog"))


def test_too_many_reward_images_are_refused(directory: Path) -> None:
    with pytest.raises(DataError, match="reward_images is 24, but the training data has 24 images"):
        load_search_data(settings(directory, reward_images=24))


IMAGE_GB = 16 * 16 * 3 / 1e9


@pytest.mark.parametrize(
    ("options", "train", "reward"),
    [
        ({}, ImageArrays, ImageArrays),
        ({"augment": "inception"}, StreamedImages, ImageArrays),
        ({"storage": "stream"}, StreamedImages, StreamedImages),
        ({"storage": "memory"}, ImageArrays, ImageArrays),
        ({"memory_limit_gb": 24 * IMAGE_GB}, ImageArrays, ImageArrays),
        ({"memory_limit_gb": 23 * IMAGE_GB}, StreamedImages, ImageArrays),
        ({"memory_limit_gb": 5 * IMAGE_GB}, StreamedImages, StreamedImages),
    ],
)
def test_where_images_are_kept(directory: Path, options: dict[str, Any], train: type, reward: type) -> None:
    data = load_search_data(settings(directory, **options))
    assert (type(data.train), type(data.reward)) == (train, reward)


def test_images_that_must_fit_but_do_not_are_refused(directory: Path) -> None:
    with pytest.raises(DataError, match=r"24 images at 16 pixels take .* GB decoded, memory_limit_gb is 1e-06: raise"):
        load_search_data(settings(directory, storage="memory", memory_limit_gb=1e-6))


def test_evaluation_leaves_out_the_border_and_training_does_not(directory: Path) -> None:
    for path in directory.rglob("*.png"):
        picture = np.zeros((40, 40, 3), np.uint8)
        picture[8:32, 8:32] = 255
        Image.fromarray(picture).save(path)
    data = load_full_data(settings(directory, evaluation_crop=0.5))
    assert isinstance(data.train, ImageArrays)
    assert isinstance(data.test, ImageArrays)
    assert data.train.images.min() == 0
    assert data.test.images.min() == 255


@pytest.mark.parametrize("size", [8, 24])
def test_arrays_are_resized_to_the_image_size(size: int) -> None:
    search, full = (
        load_search_data(DigitsSettings(image_size=size)),
        load_full_data(DigitsSettings(image_size=size)),
    )
    for source in (search.train, search.reward, full.train, full.test):
        (images, _), *_ = source.evaluation_batches(10)
        assert images.shape == (10, 1, size, size)


def test_fingerprints_are_stable_and_depend_on_the_split(directory: Path) -> None:
    first = load_search_data(settings(directory)).fingerprint()
    assert load_search_data(settings(directory)).fingerprint() == first
    assert load_search_data(settings(directory, split_seed=1)).fingerprint() != first
    assert load_full_data(settings(directory)).fingerprint() != first


def test_data_describe_their_parts(directory: Path) -> None:
    search, full = load_search_data(settings(directory)), load_full_data(settings(directory))
    assert search.describe().splitlines() == [
        "training: 18 images of 3 classes, 16x16x3, in memory (0.0 MB)",
        "reward: 6 images of 3 classes, 16x16x3, in memory (0.0 MB)",
    ]
    assert full.describe().splitlines()[1] == "test: 24 images of 3 classes, 16x16x3, in memory (0.0 MB)"


def test_loading_the_digits_imports_neither_mindspore_nor_ray() -> None:
    program = (
        "import sys; from mnas.data import DigitsSettings, load_search_data; "
        "load_search_data(DigitsSettings()); "
        "sys.exit('mindspore' in sys.modules or 'ray' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
