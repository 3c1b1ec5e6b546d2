"""Compare MindCV's preparation of ImageNet's test images with that of `mnas validate`, image by image.

pip install --no-deps mindcv==0.3.0     # in an environment of mnas
python -m experiments.benchmarks.mindcv_preprocessing DIR      # DIR/val/CLASS/*
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnas.checkpoints.image_input import conventional_input
from mnas.data import StreamedImages, load_images
from mnas.data.folder import list_test
from mnas.mindspore_setup import set_mindspore_environment

IMAGE_SIZE = 224
BATCH_SIZE = 50


class EncodedFiles:
    """The bytes of files by position, for GeneratorDataset."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._paths)

    def __getitem__(self, position: int) -> tuple[npt.NDArray[np.uint8]]:
        """Return the bytes of one file."""
        return (np.fromfile(self._paths[int(position)], np.uint8),)


def main() -> None:
    """Print the largest difference of a normalized pixel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="folder with val/CLASS/*")
    directory: str = parser.parse_args().directory
    set_mindspore_environment()
    classes = list_test(Path(directory), "val", None).class_names
    ours = load_images(directory, conventional_input(IMAGE_SIZE, 3, len(classes)), "val")
    assert isinstance(ours, StreamedImages), "images of this size are streamed"
    paths = [ours.listing.path(position) for position in range(len(ours))]
    theirs = mindcv_images(paths)
    differences = [
        float(np.abs(image - next(theirs)[0]).max())
        for images, _ in ours.evaluation_batches(BATCH_SIZE)
        for image in images
    ]
    print(f"{len(differences)} images, largest difference of a normalized pixel {max(differences):.1e}")


def mindcv_images(paths: list[Path]) -> Any:
    """Return an iterator of one-tuples, each an image (3, 224, 224) as MindCV evaluates it."""
    from mindspore import dataset

    # Imported by name, so that type checkers do not need a package that only this comparison uses.
    create_transforms = importlib.import_module("mindcv.data").create_transforms
    operations = create_transforms(dataset_name="imagenet", image_resize=IMAGE_SIZE, is_training=False)
    files = EncodedFiles(paths)
    pipeline = dataset.GeneratorDataset(
        files, ["image"], shuffle=False, num_parallel_workers=1, python_multiprocessing=False
    )
    return pipeline.map(operations, ["image"]).create_tuple_iterator(num_epochs=1, output_numpy=True)


if __name__ == "__main__":
    main()
