"""CIFAR-10 in its authors' binary version (https://www.cs.toronto.edu/~kriz/cifar.html).

A batch file is a row of records of 3,073 bytes: the label, then 1,024 red, green and blue values, each
plane row by row.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from mnas.data.arrays import ImageArrays
from mnas.data.image_form import InputForm
from mnas.data.preprocessing import Uint8Images
from mnas.data.settings import Directory, ImageCount, ImageSettings, ImageSize, Normalization, check_channels
from mnas.data.source import FullData, SearchData
from mnas.documents.user_paths import user_path
from mnas.errors import DataError

SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE
TRAINING_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_NORMALIZATION = Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


class Cifar10BinarySettings(ImageSettings, frozen=True, kw_only=True, tag="cifar10_binary"):
    """CIFAR-10 as its authors' binary batches: data_batch_1.bin ... data_batch_5.bin and test_batch.bin.

    Attributes:
        directory: Folder of the batches.
    """

    directory: Directory
    image_size: ImageSize = 32
    reward_images: ImageCount = 5000
    augment: Literal["none", "crop_flip"] = "crop_flip"
    normalize: Normalization = CIFAR10_NORMALIZATION

    @property
    def path(self) -> Path:
        """The directory, with `~` expanded and made absolute: workers run in other folders."""
        return user_path(self.directory).absolute()

    def load_search(self) -> SearchData:
        """Split the five training batches for a search; see `DataFormat`."""
        return self.split_arrays(self.load_training())

    def count_training_images(self) -> int:
        """Return the number of training images."""
        return len(self.load_training())

    def load_full(self) -> FullData:
        """Load the five training batches and the test batch; see `DataFormat`."""
        return FullData(self.load_training().resized(self.image_size), self.load_test())

    def load_validated(self, images: int, split_seed: int) -> FullData:
        """Load them with so many training images held out, balanced over classes, to validate on."""
        return self.validated_arrays(self.load_training(), self.load_test(), images, split_seed)

    def load_test(self, class_names: tuple[str, ...] | None = None) -> ImageArrays:
        """Load the test batch; see `DataFormat`."""
        return self._load(TEST_FILES).resized(self.image_size)

    def load_training(self) -> ImageArrays:
        """Load the five training batches, 32x32."""
        return self._load(TRAINING_FILES)

    def located(self, directory: str) -> "Cifar10BinarySettings":
        """Return the settings for batches in another directory."""
        return msgspec.structs.replace(self, directory=directory)

    @classmethod
    def find_test_set(cls, data: str, form: InputForm, test_folder: str | None) -> "Cifar10BinarySettings | None":
        """Return settings for a directory that holds the test batch; see `DataFormat`."""
        if not (user_path(data) / TEST_FILES[0]).is_file():
            return None
        check_channels(data, form, 3)
        normalize = Normalization(mean=form.mean, std=form.std)
        return cls(directory=data, image_size=form.image_size, normalize=normalize)

    def _load(self, names: Sequence[str]) -> ImageArrays:
        if not self.path.is_dir():
            raise DataError(f"{self.path}: no such folder; `directory` must hold CIFAR-10's binary batches")
        batches = [_read_batch(self.path / name) for name in names]
        return ImageArrays(
            images=np.concatenate([images for images, _ in batches]),
            labels=np.concatenate([labels for _, labels in batches]),
            class_names=CIFAR10_NAMES,
            preprocessing=self.preprocessing,
        )


def _read_batch(path: Path) -> tuple[Uint8Images, npt.NDArray[np.int32]]:
    try:
        content = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {_missing_file_remedy(path)}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error
    if content.size == 0 or content.size % RECORD_BYTES:
        raise DataError(
            f"{path}: {content.size} bytes is not a whole number of {RECORD_BYTES}-byte records "
            "(the original has 30,730,000 bytes); unpack cifar-10-binary.tar.gz again"
        )
    records = content.reshape(-1, RECORD_BYTES)
    labels = records[:, 0].astype(np.int32)
    if labels.max() >= len(CIFAR10_NAMES):
        record = int(np.argmax(labels >= len(CIFAR10_NAMES)))
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
