"""The contract that every `ImageSource` keeps."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from mnas.data import Batch, DataSettings, ImageArrays, ImageSource, StreamedImages
from mnas.errors import DataError
from mnas.files import fingerprint_of

BATCH_SIZE = 4
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

Array = npt.NDArray[Any]


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


def epoch(source: ImageSource, *, seed: int = 1, epoch: int = 0) -> list[Batch]:
    return list(source.training_batches(BATCH_SIZE, seed=seed, epoch=epoch))


def pixels(batches: list[Batch]) -> Array:
    return np.concatenate([images for images, _ in batches])


def labels(batches: list[Batch]) -> list[int]:
    return [int(label) for _, batch in batches for label in batch]


def contents(batches: list[Batch]) -> "Counter[tuple[bytes, int]]":
    return Counter(
        (image.tobytes(), int(label)) for images, batch in batches for image, label in zip(images, batch, strict=True)
    )


def test_is_of_the_expected_kind(source: ImageSource, name: str) -> None:
    assert type(source) is ALL[name][1]


def test_training_batches_are_full_float32_nchw(source: ImageSource, name: str) -> None:
    shape = (BATCH_SIZE, ALL[name][2], source.image_size, source.image_size)
    assert source.channels == ALL[name][2]
    for images, _ in epoch(source):
        assert images.shape == shape
        assert images.dtype == np.float32
        assert images.flags.c_contiguous


def test_labels_are_int32_class_numbers(source: ImageSource) -> None:
    assert source.num_classes == len(source.class_names)
    for _, batch in epoch(source) + list(source.evaluation_batches(BATCH_SIZE)):
        assert batch.dtype == np.int32
        assert batch.min() >= 0
        assert batch.max() < source.num_classes


def test_an_epoch_leaves_out_less_than_a_batch(source: ImageSource) -> None:
    assert len(epoch(source)) == len(source) // BATCH_SIZE


def test_the_same_seed_and_epoch_give_the_same_batches(source: ImageSource) -> None:
    first, second = epoch(source, seed=3, epoch=2), epoch(source, seed=3, epoch=2)
    assert np.array_equal(pixels(first), pixels(second))
    assert labels(first) == labels(second)


def test_another_epoch_has_another_order(source: ImageSource) -> None:
    assert not np.array_equal(pixels(epoch(source, epoch=0)), pixels(epoch(source, epoch=1)))


def test_another_seed_has_another_order(source: ImageSource) -> None:
    assert not np.array_equal(pixels(epoch(source, seed=1)), pixels(epoch(source, seed=2)))


def test_an_epoch_can_be_left_early(source: ImageSource) -> None:
    batches = source.training_batches(BATCH_SIZE, seed=1, epoch=0)
    first, _ = next(iter(batches))
    del batches
    assert np.array_equal(first, epoch(source)[0][0])


@pytest.mark.parametrize("chosen", [range(1, 4), range(1, 4, 2), range(0)], ids=["a stretch", "every other", "none"])
def test_some_batches_of_an_epoch_are_those_of_the_whole(source: ImageSource, chosen: range) -> None:
    whole = epoch(source, seed=2)
    part = list(source.training_batches(BATCH_SIZE, seed=2, epoch=0, batches=chosen))
    assert labels(part) == labels([whole[index] for index in chosen])
    for (images, _), index in zip(part, chosen, strict=True):
        np.testing.assert_array_equal(images, whole[index][0])


def test_a_batch_beyond_the_epoch_is_refused(source: ImageSource) -> None:
    available = len(source) // BATCH_SIZE
    with pytest.raises(IndexError, match=f"beyond the {available} batches"):
        next(iter(source.training_batches(BATCH_SIZE, seed=1, epoch=0, batches=range(available, available + 1))))


def test_the_order_does_not_depend_on_the_batch_size(source: ImageSource) -> None:
    small = labels(epoch(source))
    large = labels(list(source.training_batches(6, seed=1, epoch=0)))
    common = min(len(small), len(large))
    assert small[:common] == large[:common]


def test_evaluation_sees_every_image_and_ends_with_a_short_batch(source: ImageSource) -> None:
    sizes = [len(batch) for _, batch in source.evaluation_batches(7)]
    assert sum(sizes) == len(source)
    assert sizes[:-1] == [7] * (len(sizes) - 1)


def test_evaluation_order_is_stable_and_independent_of_the_batch_size(source: ImageSource) -> None:
    first, second = list(source.evaluation_batches(7)), list(source.evaluation_batches(BATCH_SIZE))
    assert np.array_equal(pixels(first), pixels(second))
    assert labels(first) == labels(second)


def test_a_batch_larger_than_the_data_is_refused(source: ImageSource) -> None:
    with pytest.raises(DataError, match=rf"a batch of 1000 cannot be filled from {len(source)} training images"):
        next(iter(source.training_batches(1000, seed=1, epoch=0)))


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
