from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from mnas.data import (
    ImageArrays,
    ImageFolderSettings,
    StreamedImages,
)
from mnas.errors import DataError

MakeFolder = Callable[..., Path]


@pytest.fixture
def directory(tmp_path: Path, make_folder: MakeFolder) -> Path:
    return make_folder(tmp_path / "data")


def settings(directory: Path, **options: object) -> ImageFolderSettings:
    defaults = {"directory": str(directory), "image_size": 16, "augment": "crop_flip", "reward_images": 6}
    return msgspec.convert(defaults | options, ImageFolderSettings)


def test_a_search_works_without_a_test_folder(tmp_path: Path, make_folder: MakeFolder) -> None:
    data = settings(make_folder(tmp_path, parts=("train",))).load_search()
    assert (len(data.train), len(data.reward)) == (18, 6)


def test_a_search_needs_to_be_told_how_many_images_to_hold_out(directory: Path) -> None:
    with pytest.raises(DataError, match=r"`data\.reward_images` is missing"):
        settings(directory, reward_images=None).load_search()


def test_a_search_reads_no_test_file(directory: Path) -> None:
    for path in (directory / "test").rglob("*.png"):
        path.write_bytes(b"broken")
    data = settings(directory).load_search()
    assert sum(len(labels) for _, labels in data.reward.evaluation_batches(4)) == 6
    with pytest.raises(DataError, match=r"test/ant/0\.png: cannot be read"):
        settings(directory).load_full()


def test_a_search_never_lists_the_test_folder(directory: Path) -> None:
    (directory / "test").rename(directory / "elsewhere")
    (directory / "test").write_text("not a folder")
    settings(directory).load_search()


def test_full_training_needs_a_test_folder(tmp_path: Path, make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="has no `test` or `val` folder"):
        settings(make_folder(tmp_path, parts=("train",))).load_full()


def test_validation_reads_the_test_set_alone(tmp_path: Path, make_folder: MakeFolder) -> None:
    directory = make_folder(tmp_path, parts=("test",))
    test = settings(directory).load_test()
    assert len(test) == 24
    assert test.class_names == ("ant", "bee", "cow")


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_validation_sees_the_images_that_full_training_validates_on(directory: Path, storage: str) -> None:
    asked = settings(directory, storage=storage, evaluation_crop=0.875)
    alone, beside = asked.load_test(), asked.load_full().test
    assert type(alone) is type(beside)
    for (images, labels), (others, other_labels) in zip(
        alone.evaluation_batches(8), beside.evaluation_batches(8), strict=True
    ):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)


def test_classes_that_a_network_was_not_trained_on_are_refused(directory: Path) -> None:
    with pytest.raises(DataError, match=r"missing dog; not in training bee, cow"):
        settings(directory).load_test(class_names=("ant", "dog"))


def test_too_many_reward_images_are_refused(directory: Path) -> None:
    with pytest.raises(DataError, match="reward_images is 24, but the training data has 24 images"):
        settings(directory, reward_images=24).load_search()


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
    data = settings(directory, **options).load_search()
    assert (type(data.train), type(data.reward)) == (train, reward)


def test_images_that_must_fit_but_do_not_are_refused(directory: Path) -> None:
    with pytest.raises(DataError, match=r"24 images at 16 pixels take .* GB decoded, memory_limit_gb is 1e-06: raise"):
        settings(directory, storage="memory", memory_limit_gb=1e-6).load_search()


def test_evaluation_leaves_out_the_border_and_training_does_not(directory: Path) -> None:
    for path in directory.rglob("*.png"):
        picture = np.zeros((40, 40, 3), np.uint8)
        picture[8:32, 8:32] = 255
        Image.fromarray(picture).save(path)
    data = settings(directory, evaluation_crop=0.5).load_full()
    assert isinstance(data.train, ImageArrays)
    assert isinstance(data.test, ImageArrays)
    assert data.train.images.min() == 0
    assert data.test.images.min() == 255


def test_fingerprints_are_stable_and_depend_on_the_split(directory: Path) -> None:
    first = settings(directory).load_search().fingerprint()
    assert settings(directory).load_search().fingerprint() == first
    assert settings(directory, split_seed=1).load_search().fingerprint() != first
    assert settings(directory).load_full().fingerprint() != first


def test_data_describe_their_parts(directory: Path) -> None:
    search, full = settings(directory).load_search(), settings(directory).load_full()
    assert search.describe().splitlines() == [
        "training: 18 images of 3 classes, 16x16x3, in memory (0.0 MB)",
        "reward: 6 images of 3 classes, 16x16x3, in memory (0.0 MB)",
    ]
    assert full.describe().splitlines()[1] == "test: 24 images of 3 classes, 16x16x3, in memory (0.0 MB)"


def test_a_class_that_the_split_leaves_empty_is_said(
    tmp_path: Path, make_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ImageFolderSettings(
        directory=str(make_folder(tmp_path, images=4)), image_size=16, augment="none", reward_images=2
    )
    settings.load_search()
    (said,) = caplog.messages
    assert said == "data.reward_images: 1 of 3 classes have no image among the 2 to reward (cow); give more"
