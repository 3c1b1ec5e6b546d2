"""The sources of every built-in format keep the contract, and more."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mnas.data import DataSettings, ImageArrays, ImageSource, PixelSource, StreamedImages
from mnas.errors import DataError
from mnas.files import fingerprint_of
from tests.mnas.data.source_contract import BATCH_SIZE, ImageSourceContract, contents, epoch

DIGITS = {"format": "digits", "image_size": 12, "reward_images": 100, "train_images": 30}
CIFAR10 = {"format": "cifar10_binary", "directory": "cifar10", "reward_images": 50, "train_images": 30}
FOLDER = {"format": "image_folder", "directory": "folder", "image_size": 16, "reward_images": 6}
# Settings, class of the training source, channels.
PLAIN = {
    "digits": (DIGITS, ImageArrays, 1),
    "cifar10_binary": (CIFAR10 | {"augment": "none"}, ImageArrays, 3),
    "folder_in_memory": (FOLDER | {"augment": "none"}, ImageArrays, 3),
    "folder_streamed": (FOLDER | {"augment": "none", "storage": "stream"}, StreamedImages, 3),
}
AUGMENTED = {
    "digits_crop_flip": (DIGITS | {"augment": "crop_flip"}, ImageArrays, 1),
    "cifar10_binary_crop_flip": (CIFAR10, ImageArrays, 3),
    "folder_in_memory_crop_flip": (FOLDER | {"augment": "crop_flip"}, ImageArrays, 3),
    "folder_streamed_crop_flip": (FOLDER | {"augment": "crop_flip", "storage": "stream"}, StreamedImages, 3),
    "folder_streamed_inception": (FOLDER, StreamedImages, 3),
}
ALL = PLAIN | AUGMENTED


@pytest.fixture(scope="module")
def sources(
    tmp_path_factory: pytest.TempPathFactory,
    make_folder: Callable[..., Path],
    make_cifar10: Callable[..., Path],
) -> dict[str, ImageSource]:
    root = tmp_path_factory.mktemp("data")
    make_folder(root / "folder")
    make_cifar10(root / "cifar10")
    loaded = {}
    for name, (settings, _, _) in ALL.items():
        located = dict(settings)
        if "directory" in located:
            located["directory"] = str(root / str(located["directory"]))
        loaded[name] = msgspec.convert(located, DataSettings).load_search().train
    return loaded


@pytest.fixture(params=list(ALL))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(sources: dict[str, ImageSource], name: str) -> ImageSource:
    return sources[name]


class TestEveryFormat(ImageSourceContract):
    @pytest.fixture
    def source(self, sources: dict[str, ImageSource], name: str) -> ImageSource:
        return sources[name]


def test_is_of_the_expected_kind(source: ImageSource, name: str) -> None:
    assert type(source) is ALL[name][1]
    assert source.channels == ALL[name][2]


def test_a_batch_beyond_the_epoch_is_named(source: ImageSource) -> None:
    available = len(source) // BATCH_SIZE
    with pytest.raises(IndexError, match=f"beyond the {available} batches"):
        next(iter(source.training_batches(BATCH_SIZE, seed=1, epoch=0, batches=range(available, available + 1))))


def test_a_batch_larger_than_the_data_is_named(source: ImageSource) -> None:
    with pytest.raises(DataError, match=rf"a batch of 1000 cannot be filled from {len(source)} training images"):
        next(iter(source.training_batches(1000, seed=1, epoch=0)))


def test_pixels_are_the_batches_before_they_are_mirrored_and_normalized(source: ImageSource) -> None:
    assert isinstance(source, PixelSource)
    pixels = list(source.training_pixels(BATCH_SIZE, seed=1, epoch=0))
    for (images, flipped, labels), (normalized, same_labels) in zip(pixels, epoch(source), strict=True):
        assert images.dtype == np.uint8
        assert flipped.dtype == np.bool_
        assert flipped.shape == (BATCH_SIZE,)
        assert images.flags.c_contiguous
        np.testing.assert_array_equal(source.preprocessing.finish(images, flipped), normalized)
        np.testing.assert_array_equal(labels, same_labels)


def test_describe_gives_count_classes_and_size(source: ImageSource) -> None:
    size = f"{source.image_size}x{source.image_size}x{source.channels}"
    assert source.describe().startswith(f"{len(source)} images of {source.num_classes} classes, {size}, ")


@pytest.mark.parametrize("name", PLAIN)
def test_an_epoch_repeats_no_image(source: ImageSource) -> None:
    trained, held = contents(epoch(source)), contents(list(source.evaluation_batches(BATCH_SIZE)))
    assert trained <= held


@pytest.mark.parametrize("name", PLAIN)
def test_an_epoch_of_whole_batches_loses_no_image(source: ImageSource) -> None:
    trained = contents(list(source.training_batches(3, seed=1, epoch=0)))
    assert len(source) % 3 == 0
    assert trained == contents(list(source.evaluation_batches(BATCH_SIZE)))


# Parts of pictures of one colour are alike: test_streaming.py looks at Inception's crops.
@pytest.mark.parametrize("name", [name for name in AUGMENTED if name.endswith("crop_flip")])
def test_augmentation_changes_images(source: ImageSource) -> None:
    assert not contents(epoch(source)) <= contents(list(source.evaluation_batches(BATCH_SIZE)))


def test_fingerprints_of_different_sources_differ(sources: dict[str, ImageSource]) -> None:
    fingerprints = [sources[name].fingerprint() for name in PLAIN]
    assert len(set(fingerprints)) == len(fingerprints)


def test_fingerprint_parts_do_not_run_together() -> None:
    assert fingerprint_of("ab", "c") != fingerprint_of("a", "bc")
    assert fingerprint_of(np.zeros((2, 3), np.uint8)) != fingerprint_of(np.zeros((3, 2), np.uint8))
