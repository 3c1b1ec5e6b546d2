"""Compare Inception's training augmentation of mnas with Pillow and torchvision, in images per second of one core.

    python -m experiments.benchmarks.augmentation_throughput DIRECTORY [--rounds 5]

DIRECTORY/train/CLASS/*.JPEG are decoded, cut (8-100% of the area), resized to 224, flipped, their colours jittered by
0.4 and normalized. The ways take turns; printed are the median and the extremes over the rounds of images per CPU
second of the whole process, all its threads together, so that a busy machine does not matter much. torchvision takes
part if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from mnas.data.folder import FileListing, list_training
from mnas.data.preprocessing import Preprocessing
from mnas.data.streaming import StreamedImages

IMAGE_SIZE, BATCH_SIZE = 224, 25
AREA, ASPECT, JITTER = (0.08, 1.0), (3 / 4, 4 / 3), 0.4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FloatImage = npt.NDArray[np.float32]


def by_mnas(listing: FileListing) -> Callable[[int], Iterator[int]]:
    """Return the pipeline of a retraining (mindspore.dataset); called with an epoch, it yields batch sizes."""
    source = StreamedImages(
        listing=listing,
        image_size=IMAGE_SIZE,
        random_parts=True,
        color_jitter=JITTER,
        interpolation="bilinear",
        evaluation_crop=0.875,
        workers=1,
        preprocessing=Preprocessing(crop=0, flip=True, mean=MEAN, std=STD),
    )

    def epoch(number: int) -> Iterator[int]:
        for images, _ in source.training_batches(BATCH_SIZE, seed=0, epoch=number):
            yield len(images)

    return epoch


def by_pillow(listing: FileListing) -> Callable[[int], Iterator[int]]:
    """Return the same work done with Pillow and NumPy."""

    def epoch(number: int) -> Iterator[int]:
        generator = random.Random(number)
        for path in _shuffled(listing, generator):
            _augment_by_pillow(path, generator)
            yield 1

    return epoch


def by_torchvision(listing: FileListing) -> Callable[[int], Iterator[int]]:
    """Return the same work done with torchvision's transforms on Pillow images."""
    import torch
    from torchvision import transforms

    torch.set_num_threads(1)
    augment = transforms.Compose(
        [
            transforms.RandomResizedCrop(IMAGE_SIZE, AREA, ASPECT),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(JITTER, JITTER, JITTER),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def epoch(number: int) -> Iterator[int]:
        for path in _shuffled(listing, random.Random(number)):
            with Image.open(path) as picture:
                augment(picture.convert("RGB"))
            yield 1

    return epoch


def _shuffled(listing: FileListing, generator: random.Random) -> list[Path]:
    paths = [listing.path(position) for position in range(len(listing))]
    generator.shuffle(paths)
    return paths[: len(paths) // BATCH_SIZE * BATCH_SIZE]


def _augment_by_pillow(path: Path, generator: random.Random) -> FloatImage:
    with Image.open(path) as file:
        picture = file.convert("RGB")
    size = (IMAGE_SIZE, IMAGE_SIZE)
    image = picture.resize(size, Image.Resampling.BILINEAR, box=_random_part(picture.width, picture.height, generator))
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(generator.uniform(1 - JITTER, 1 + JITTER))
    pixels = np.asarray(image, np.float32) / 255
    normalized = (pixels - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))


def _random_part(width: int, height: int, generator: random.Random) -> tuple[int, int, int, int]:
    for _ in range(10):
        area = width * height * generator.uniform(*AREA)
        aspect = math.exp(generator.uniform(*map(math.log, ASPECT)))
        part_width, part_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < part_width <= width and 0 < part_height <= height:
            left, top = generator.randint(0, width - part_width), generator.randint(0, height - part_height)
            return left, top, left + part_width, top + part_height
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    listing = list_training(arguments.directory)
    ways = {"mnas": by_mnas(listing), "Pillow": by_pillow(listing)}
    if importlib.util.find_spec("torchvision"):
        ways["torchvision"] = by_torchvision(listing)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.rounds + 1):
        for name, epoch in ways.items():
            start = time.process_time()
            images = sum(epoch(number))
            if number > 0:  # the first round imports and fills the file cache
                rates[name].append(images / (time.process_time() - start))
    print(f"{len(listing)} images of {arguments.directory}, {os.cpu_count()} cores, {arguments.rounds} rounds")
    for name, values in rates.items():
        print(
            f"{name:<12} {statistics.median(values):6.1f} images per CPU second ({min(values):.1f}-{max(values):.1f})"
        )


if __name__ == "__main__":
    main()
