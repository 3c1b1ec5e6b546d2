from collections.abc import Callable

import numpy as np
import pytest

from mnas.data import ImageArrays
from mnas.data.preprocessing import Preprocessing
from search_space.lowering import LoweredNetwork

RandomImages = Callable[[LoweredNetwork, int], ImageArrays]


@pytest.fixture(scope="session")
def random_images() -> RandomImages:
    """Noise images with noise labels, of the form that a network is lowered for."""

    def make(network: LoweredNetwork, count: int) -> ImageArrays:
        generator = np.random.default_rng(0)
        shape = (count, network.image_size, network.image_size, network.channels)
        return ImageArrays(
            images=generator.integers(0, 256, shape, dtype=np.uint8),
            labels=generator.integers(0, network.num_classes, count, dtype=np.int32),
            class_names=tuple(str(label) for label in range(network.num_classes)),
            preprocessing=Preprocessing(
                crop=0, flip=False, mean=(0.5,) * network.channels, std=(0.25,) * network.channels
            ),
        )

    return make
