"""The graph mirrors and normalizes as NumPy does, to the last bit on the CPU."""

import numpy as np
import pytest

from mnas.data import Preprocessing
from mnas.mindspore_setup import Compute, prepare_mindspore


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.5,), (0.25,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.0, 1.0, 0.3), (1.0, 0.001, 0.7))],
    ids=["grey", "imagenet", "extremes"],
)
def test_the_graph_finishes_images_as_numpy_does(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import Tensor

    from mnas.training.image_preparation import FinishImages

    # Each of the 256 values of a pixel is there in each channel.
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    planes = np.stack(
        [np.stack([np.roll(ramp, shift + channel) for channel in range(len(mean))]) for shift in range(6)]
    )
    flipped = np.array([True, False, False, True, True, False])
    preprocessing = Preprocessing(crop=0, flip=True, mean=mean, std=std)
    found = FinishImages(preprocessing)(Tensor(planes), Tensor(flipped)).asnumpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, preprocessing.finish(planes, flipped))
