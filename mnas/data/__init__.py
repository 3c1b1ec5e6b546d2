"""Labelled images for children and for full training.

The settings of a data format load them: `load_search` gives a search its training images and the held-out images of the
reward, and never opens the test set; `load_full` gives full training all training images and the test set; `load_test`
gives validation the test set alone. All return `ImageSource`s: images held in memory (`ImageArrays`) or streamed from
files (`StreamedImages`).
"""

from mnas.data.arrays import ImageArrays
from mnas.data.cifar10 import Cifar10BinarySettings
from mnas.data.digits import DigitsSettings
from mnas.data.formats import DataSettings, load_images
from mnas.data.image_folder import ImageFolderSettings
from mnas.data.image_form import ImageForm, InputForm
from mnas.data.own import OwnDataSettings
from mnas.data.preprocessing import Preprocessing
from mnas.data.settings import DataFormat, Normalization
from mnas.data.source import Batch, FullData, ImageSource, PixelBatch, PixelSource, SearchData
from mnas.data.split import split_training
from mnas.data.streaming import StreamedImages

__all__ = [
    "Batch",
    "Cifar10BinarySettings",
    "DataFormat",
    "DataSettings",
    "DigitsSettings",
    "FullData",
    "ImageArrays",
    "ImageFolderSettings",
    "ImageForm",
    "ImageSource",
    "InputForm",
    "Normalization",
    "OwnDataSettings",
    "PixelBatch",
    "PixelSource",
    "Preprocessing",
    "SearchData",
    "StreamedImages",
    "load_images",
    "split_training",
]
