"""Labelled images for children and for full training.

`load_search_data` gives a search its training images and the held-out images of the reward; it never opens
the test set. `load_full_data` gives full training all training images and the test set, `load_test_data` gives
validation the test set alone. All return `ImageSource`s: images held in memory (`ImageArrays`) or streamed from
files (`StreamedImages`).
"""

from mnas.data.arrays import ImageArrays
from mnas.data.load import FullData, SearchData, load_full_data, load_search_data, load_test_data
from mnas.data.settings import (
    Cifar10BinarySettings,
    DataSettings,
    DigitsSettings,
    ImageFolderSettings,
    Normalization,
)
from mnas.data.source import Batch, ImageSource
from mnas.data.split import split_training
from mnas.data.streaming import StreamedImages

__all__ = [
    "Batch",
    "Cifar10BinarySettings",
    "DataSettings",
    "DigitsSettings",
    "FullData",
    "ImageArrays",
    "ImageFolderSettings",
    "ImageSource",
    "Normalization",
    "SearchData",
    "StreamedImages",
    "load_full_data",
    "load_search_data",
    "load_test_data",
    "split_training",
]
