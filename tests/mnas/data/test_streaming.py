import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mnas.data import ImageFolderSettings, ImageSource, StreamedImages
from mnas.errors import DataError

MakeFolder = Callable[..., Path]
Array = npt.NDArray[Any]


@pytest.fixture
def directory(tmp_path: Path, make_folder: MakeFolder) -> Path:
    return make_folder(tmp_path / "data")


def streamed(directory: Path, **options: object) -> ImageSource:
    defaults = {"directory": str(directory), "image_size": 16, "augment": "none", "storage": "stream"}
    settings = msgspec.convert(defaults | {"reward_images": 3} | options, ImageFolderSettings)
    return settings.load_full().train


def colours(source: ImageSource, images: Array) -> Array:
    """The mean colour (count, 3) of each image, in 0..255."""
    assert isinstance(source, StreamedImages)
    preprocessing = source.preprocessing
    pixels: Array = (images.mean(axis=(2, 3)) * preprocessing.std + preprocessing.mean) * 255
    return np.rint(pixels)


def test_each_image_comes_with_its_own_label(directory: Path) -> None:
    source = streamed(directory)
    for images, labels in source.training_batches(4, seed=1, epoch=0):
        assert np.array_equal(colours(source, images)[:, 0], 40 + 60 * labels)


def test_inception_cuts_random_parts_of_the_original_picture(tmp_path: Path, make_folder: MakeFolder) -> None:
    directory = make_folder(tmp_path, images=4)
    ramp = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[:, None, None], 120, axis=1)
    for path in (directory / "train").rglob("*.png"):
        Image.fromarray(np.repeat(ramp, 3, axis=2)).save(path)
    source = streamed(directory, augment="inception")
    (images, _), *_ = source.training_batches(12, seed=1, epoch=0)
    brightness = colours(source, images)[:, 0]
    assert len(np.unique(brightness)) > 6
    assert brightness.min() > 0
    assert brightness.max() < 239


def test_jitter_changes_brightness_by_no_more_than_its_share(directory: Path) -> None:
    for path in (directory / "train").rglob("*.png"):
        Image.new("RGB", (40, 30), (120, 120, 120)).save(path)  # one grey has no contrast nor saturation to change
    source = streamed(directory, augment="inception", color_jitter=0.4)
    (images, _), *_ = source.training_batches(12, seed=1, epoch=0)
    brightness = colours(source, images)
    assert np.ptp(brightness) > 20
    assert brightness.min() >= 0.6 * 120 - 1
    assert brightness.max() <= 1.4 * 120 + 1


def test_a_resumed_epoch_has_the_crops_and_colours_that_were_left(directory: Path) -> None:
    source = streamed(directory, augment="inception", color_jitter=0.4)
    chosen = range(1, 3)
    first, second = (list(source.training_batches(4, seed=1, epoch=0, batches=chosen)) for _ in range(2))
    for (images, labels), (again, labels_again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, labels_again)


def test_streaming_agrees_with_decoding_to_memory(tmp_path: Path, make_folder: MakeFolder) -> None:
    directory = make_folder(tmp_path, size=(16, 16))
    for number, path in enumerate((directory / "train").rglob("*.png")):
        noise = np.random.default_rng(number).integers(256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    batches = [
        next(iter(streamed(directory, storage=storage).training_batches(8, seed=1, epoch=0)))
        for storage in ("stream", "memory")
    ]
    assert np.array_equal(batches[0][0], batches[1][0])
    assert np.array_equal(batches[0][1], batches[1][1])


def test_grey_and_palette_images_stream_as_rgb(directory: Path) -> None:
    folder = directory / "train" / "ant"
    Image.new("L", (20, 20), 77).save(folder / "0.png")
    Image.new("RGB", (20, 20), (10, 20, 30)).quantize(2).save(folder / "1.png")
    source = streamed(directory)
    (images, _), *_ = source.evaluation_batches(2)
    assert colours(source, images).tolist() == [[77, 77, 77], [10, 20, 30]]


def test_the_source_works_in_another_process(directory: Path) -> None:
    source = streamed(directory)
    received = pickle.loads(pickle.dumps(source, protocol=5))
    (here, _), *_ = source.evaluation_batches(24)
    (there, _), *_ = received.evaluation_batches(24)
    assert np.array_equal(here, there)


def test_global_random_state_is_left_alone(directory: Path) -> None:
    from mindspore.dataset import config

    random.seed(5)
    np.random.seed(5)
    before = config.get_seed(), random.getstate(), str(np.random.get_state())
    list(streamed(directory, augment="inception").training_batches(4, seed=1, epoch=0))
    assert (config.get_seed(), random.getstate(), str(np.random.get_state())) == before


@pytest.mark.parametrize("content", [b"broken", b"\xff\xd8\xff\xe0"])
def test_a_broken_image_is_named_when_it_is_reached(directory: Path, content: bytes) -> None:
    path = directory / "train" / "bee" / "5.png"
    path.write_bytes(content)
    source = streamed(directory)
    with pytest.raises(DataError, match=rf"{path}: cannot be read as an 8-bit image"):
        list(source.training_batches(4, seed=1, epoch=0))


def test_a_file_that_vanishes_is_named(directory: Path) -> None:
    source = streamed(directory)
    (directory / "train" / "cow" / "2.png").unlink()
    with pytest.raises(DataError, match=r"train/cow/2\.png: cannot be read \(No such file or directory\)"):
        list(source.evaluation_batches(4))


def test_the_reward_set_streams_too_when_told_to(directory: Path) -> None:
    settings = ImageFolderSettings(directory=str(directory), image_size=16, reward_images=6, storage="stream")
    data = settings.load_search()
    assert isinstance(data.reward, StreamedImages)
    assert sum(len(labels) for _, labels in data.reward.evaluation_batches(4)) == 6
