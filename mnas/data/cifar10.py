"""CIFAR-10 in its authors' binary version (https://www.cs.toronto.edu/~kriz/cifar.html).

A batch file is a row of records of 3,073 bytes: the label, then 1,024 red, green and blue values, each
plane row by row.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnas.data.arrays import ImageArrays
from mnas.data.preprocessing import Uint8Images, preprocessing_for
from mnas.data.settings import Cifar10BinarySettings
from mnas.errors import DataError

SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE
TRAINING_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_training(settings: Cifar10BinarySettings) -> ImageArrays:
    """The five training batches, 32x32.

    Raises:
        DataError: a file is missing, has the wrong size or holds a label above 9.
    """
    return _load(settings, TRAINING_FILES)


def load_test(settings: Cifar10BinarySettings) -> ImageArrays:
    """The test batch, 32x32.

    Raises:
        DataError: the file is missing, has the wrong size or holds a label above 9.
    """
    return _load(settings, TEST_FILES)


def _load(settings: Cifar10BinarySettings, names: Sequence[str]) -> ImageArrays:
    if not settings.path.is_dir():
        raise DataError(f"{settings.path}: no such folder; `directory` must hold CIFAR-10's binary batches")
    batches = [_read_batch(settings.path / name) for name in names]
    return ImageArrays(
        images=np.concatenate([images for images, _ in batches]),
        labels=np.concatenate([labels for _, labels in batches]),
        class_names=CLASS_NAMES,
        preprocessing=preprocessing_for(settings),
    )


def _read_batch(path: Path) -> tuple[Uint8Images, npt.NDArray[np.int32]]:
    try:
        content = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {_missing_file_remedy(path)}") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    if content.size == 0 or content.size % RECORD_BYTES:
        raise DataError(
            f"{path}: {content.size} bytes is not a whole number of {RECORD_BYTES}-byte records "
            "(the original has 30,730,000 bytes); unpack cifar-10-binary.tar.gz again"
        )
    records = content.reshape(-1, RECORD_BYTES)
    labels = records[:, 0].astype(np.int32)
    if labels.max() >= len(CLASS_NAMES):
        record = int(np.argmax(labels >= len(CLASS_NAMES)))
        raise DataError(
            f"{path}: record {record} has label {labels[record]}, but CIFAR-10's labels are 0 to 9; "
            "the file is damaged or is not CIFAR-10 (CIFAR-100 has another record format)"
        )
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def _missing_file_remedy(path: Path) -> str:
    folder = path.parent
    if (folder / path.stem).exists():
        return f"{folder} holds the Python version: download the binary version, cifar-10-binary.tar.gz"
    if (folder / "cifar-10-batches-bin" / path.name).exists():
        return f"set `directory` to {folder / 'cifar-10-batches-bin'}"
    return "`directory` must hold the unpacked batches of cifar-10-binary.tar.gz"
