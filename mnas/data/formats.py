"""The data formats, and the test set at a place that a user names."""

from typing import TypeAlias, get_args

from mnas.data.cifar10 import Cifar10BinarySettings
from mnas.data.digits import DigitsSettings
from mnas.data.image_folder import ImageFolderSettings
from mnas.data.image_form import InputForm
from mnas.data.own import OwnDataSettings
from mnas.data.settings import DataFormat
from mnas.data.source import ImageSource
from mnas.errors import DataError

# Image folders come last: any directory that is of no other format is taken for one.
DataSettings: TypeAlias = DigitsSettings | Cifar10BinarySettings | OwnDataSettings | ImageFolderSettings


def load_images(data: str, form: InputForm, test_folder: str | None = None) -> ImageSource:
    """Load the test set at `data`, prepared as a network wants it. Every engine sees the same pixels.

    Args:
        data: `digits` (those that come with mnas), a folder with CIFAR-10's binary batches, one with test/CLASS/* or
            val/CLASS/*, or `package.module:function`, which returns `FullData`.
        form: How the network's images are prepared.
        test_folder: Folder of the test images; None for `test` or `val`.

    Raises:
        DataError: Images are missing, damaged, or of other channels or classes than the network's.
    """
    names = form.class_names
    source = _find_test_set(data, form, test_folder).load_test(names)
    if names is not None and source.class_names != names:
        raise DataError(
            f"{data}: its classes ({', '.join(source.class_names[:3])}, ...) are not those that the network was "
            f"trained on ({', '.join(names[:3])}, ...); give the test set of its training data"
        )
    return source


def _find_test_set(data: str, form: InputForm, test_folder: str | None) -> DataFormat:
    formats: tuple[type[DataFormat], ...] = get_args(DataSettings)
    for settings in (each.find_test_set(data, form, test_folder) for each in formats):
        if settings is not None:
            if test_folder is not None and not isinstance(settings, ImageFolderSettings):
                raise DataError(f"{data}: has no folders of test images to choose from; leave out --test-folder")
            return settings
    raise DataError(f"{data}: holds no test set of a known format")
