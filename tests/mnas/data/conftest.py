"""Small data sets, written with Pillow and NumPy."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]
MakeCifar10 = Callable[..., Path]


@pytest.fixture(scope="session")
def make_folder() -> MakeFolder:
    """A function that writes PART/CLASS/IMAGE files, each of another colour, and returns the directory."""

    def make(
        directory: Path,
        *,
        parts: Sequence[str] = ("train", "test"),
        classes: Sequence[str] = ("ant", "bee", "cow"),
        images: int = 8,
        size: tuple[int, int] = (20, 16),
        suffix: str = ".png",
    ) -> Path:
        for part_number, part in enumerate(parts):
            for label, name in enumerate(classes):
                folder = directory / part / name
                folder.mkdir(parents=True)
                for number in range(images):
                    colour = (40 + 60 * label, 8 + 8 * number, 100 + 50 * part_number)
                    Image.new("RGB", size, colour).save(folder / f"{number}{suffix}")
        return directory

    return make


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
