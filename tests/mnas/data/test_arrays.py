import pickle
from dataclasses import replace

import numpy as np
import pytest

from mnas.data import DigitsSettings, ImageArrays
from mnas.data.preprocessing import Preprocessing


@pytest.fixture
def arrays() -> ImageArrays:
    train = DigitsSettings(augment="crop_flip").load_search().train
    assert isinstance(train, ImageArrays)
    return train


def test_arrays_travel_out_of_band(arrays: ImageArrays) -> None:
    buffers: list[pickle.PickleBuffer] = []
    message = pickle.dumps(arrays, protocol=5, buffer_callback=buffers.append)
    assert len(message) < 2000
    assert sum(buffer.raw().nbytes for buffer in buffers) == arrays.images.nbytes + arrays.labels.nbytes


def test_shared_read_only_arrays_can_be_trained_on(arrays: ImageArrays) -> None:
    buffers: list[pickle.PickleBuffer] = []
    message = pickle.dumps(arrays, protocol=5, buffer_callback=buffers.append)
    received = pickle.loads(message, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert not received.images.flags.writeable
    for here, there in zip(
        arrays.training_batches(64, seed=1, epoch=1),
        received.training_batches(64, seed=1, epoch=1),
        strict=True,
    ):
        assert np.array_equal(here[0], there[0])
        assert np.array_equal(here[1], there[1])


def test_select_keeps_images_and_labels_together(arrays: ImageArrays) -> None:
    chosen = arrays.select(np.array([5, 2]))
    assert np.array_equal(chosen.images, arrays.images[[5, 2]])
    assert chosen.labels.tolist() == [arrays.labels[5], arrays.labels[2]]


@pytest.mark.parametrize("changed", ["images", "labels", "class_names"])
def test_the_fingerprint_covers(arrays: ImageArrays, changed: str) -> None:
    images, labels = arrays.images.copy(), arrays.labels.copy()
    images[0, 0, 0, 0] ^= 1
    labels[0] = (labels[0] + 1) % 10
    others = {
        "images": replace(arrays, images=images),
        "labels": replace(arrays, labels=labels),
        "class_names": replace(arrays, class_names=(*"012345678", "nine")),
    }
    assert others[changed].fingerprint() != arrays.fingerprint()


def test_the_fingerprint_of_equal_arrays_is_equal(arrays: ImageArrays) -> None:
    assert replace(arrays, images=arrays.images.copy()).fingerprint() == arrays.fingerprint()


@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_keeps_flat_colours(channels: int) -> None:
    colours = np.arange(1, 1 + 4 * channels, dtype=np.uint8).reshape(4, 1, 1, channels)
    images = np.broadcast_to(colours, (4, 8, 8, channels)).copy()
    preprocessing = Preprocessing(crop=0, flip=False, mean=(0.5,) * channels, std=(0.5,) * channels)
    arrays = ImageArrays(images, np.arange(4, dtype=np.int32), tuple("abcd"), preprocessing)
    assert np.array_equal(arrays.resized(20).images, np.broadcast_to(colours, (4, 20, 20, channels)))


def test_images_of_the_right_size_are_not_copied(arrays: ImageArrays) -> None:
    assert arrays.resized(arrays.image_size) is arrays
