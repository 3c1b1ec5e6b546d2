"""Small data sets, written with NumPy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

MakeCifar10 = Callable[..., Path]


@pytest.fixture(scope="session")
def make_cifar10() -> MakeCifar10:
    """A function that writes CIFAR-10's binary batches with a few random images and returns the directory."""

    def make(directory: Path, *, images: int = 20, test: bool = True) -> Path:
        directory.mkdir(exist_ok=True)
        random = np.random.default_rng(0)
        names = [f"data_batch_{number}.bin" for number in range(1, 6)] + (["test_batch.bin"] if test else [])
        for name in names:
            records = random.integers(256, size=(images, 3073), dtype=np.uint8)
            records[:, 0] = np.arange(images) % 10
            records.tofile(directory / name)
        return directory

    return make
