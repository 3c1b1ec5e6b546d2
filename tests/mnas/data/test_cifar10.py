from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mnas.data import Cifar10BinarySettings
from mnas.errors import DataError

MakeCifar10 = Callable[..., Path]


@pytest.fixture
def directory(tmp_path: Path, make_cifar10: MakeCifar10) -> Path:
    return make_cifar10(tmp_path / "cifar")


def settings(directory: Path) -> Cifar10BinarySettings:
    return Cifar10BinarySettings(directory=str(directory), reward_images=20)


def test_the_five_batches_are_read_in_order(directory: Path) -> None:
    arrays = settings(directory).load_training()
    assert arrays.images.shape == (100, 32, 32, 3)
    third = np.fromfile(directory / "data_batch_3.bin", np.uint8).reshape(20, 3073)
    assert np.array_equal(arrays.images[40:60].transpose(0, 3, 1, 2).reshape(20, -1), third[:, 1:])
    assert np.array_equal(arrays.labels[40:60], third[:, 0])


def test_test_images_are_those_of_the_test_batch(directory: Path) -> None:
    assert len(settings(directory).load_test()) == 20
    assert len(settings(directory).load_full().test) == 20


def test_a_search_works_without_the_test_batch(tmp_path: Path, make_cifar10: MakeCifar10) -> None:
    data = settings(make_cifar10(tmp_path, test=False)).load_search()
    assert (len(data.train), len(data.reward)) == (80, 20)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; `directory` must hold"):
        settings(tmp_path / "nowhere").load_training()


def test_a_missing_batch_is_named(directory: Path) -> None:
    (directory / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4\.bin: no such file; .*cifar-10-binary\.tar\.gz"):
        settings(directory).load_training()


def test_the_python_version_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").touch()
    with pytest.raises(DataError, match="holds the Python version: download the binary version"):
        settings(tmp_path).load_training()


def test_the_folder_above_is_recognised(tmp_path: Path, make_cifar10: MakeCifar10) -> None:
    make_cifar10(tmp_path / "cifar-10-batches-bin")
    with pytest.raises(DataError, match=r"set `directory` to .*cifar-10-batches-bin"):
        settings(tmp_path).load_training()


@pytest.mark.parametrize("size", [0, 3072, 5000])
def test_a_batch_of_wrong_size_is_refused(directory: Path, size: int) -> None:
    (directory / "data_batch_2.bin").write_bytes(bytes(size))
    with pytest.raises(DataError, match=rf"data_batch_2\.bin: {size} bytes is not a whole number of 3073-byte records"):
        settings(directory).load_training()


def test_a_label_above_nine_is_refused(directory: Path) -> None:
    path = directory / "data_batch_1.bin"
    content = bytearray(path.read_bytes())
    content[2 * 3073] = 17
    path.write_bytes(content)
    with pytest.raises(DataError, match="record 2 has label 17, but CIFAR-10's labels are 0 to 9"):
        settings(directory).load_training()


def test_a_batch_that_cannot_be_read_is_refused(directory: Path) -> None:
    path = directory / "data_batch_1.bin"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"data_batch_1\.bin: cannot be read \(Is a directory\)"):
        settings(directory).load_training()
