"""A first experiment for a user's own images: what to search, how long to train, and why.

The rules are starting values, not results. Each is one function or constant here, and the YAML file that is written
gives the reason next to the value.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mnas.bundled_files import find_experiment
from mnas.data import Cifar10BinarySettings, cifar10
from mnas.data.folder import TEST_FOLDERS, FileListing, list_test, list_training
from mnas.documents import yaml_file
from mnas.documents.foreign_text import one_line
from mnas.documents.user_paths import path_text, user_path
from mnas.errors import ConfigurationError, DataError
from mnas.training.moving_averages import norm_momentum_for

MIN_CLASS_IMAGES = 10
FEW_REWARD_IMAGES = 200
MAX_REWARD_IMAGES = 2000
STEPS = 200
"""Updates of the weights that a child should get at least."""
LEARNING_RATE = 0.02
"""At a batch of 64; scaled linearly with the batch size."""
IMAGES_PER_S = 425
"""Training images per second of one core at 32 pixels, as measured on CIFAR-10 (docs/measurements.md)."""
_SAMPLED_FILES = 100


@dataclass(frozen=True)
class DataSummary:
    """What a folder of images holds.

    Attributes:
        directory: The folder, as the user gave it.
        format: `data.format` of an experiment.
        class_sizes: Training images by class.
        side: Median of the shorter side of the training images, in pixels.
        has_test_set: Whether there is a test set. It is not opened.
    """

    directory: str
    format: Literal["image_folder", "cifar10_binary"]
    class_sizes: Mapping[str, int]
    side: int
    has_test_set: bool

    @property
    def images(self) -> int:
        """Number of training images."""
        return sum(self.class_sizes.values())


@dataclass(frozen=True)
class Plan:
    """The values that are chosen for an experiment.

    Attributes:
        train_images: Images that children train on; None takes all that the reward set leaves.
        target_ms: Near the middle of the space on the machine of docs/measurements.md.
        steps: Updates of the weights of a child.
    """

    space: str
    image_size: int
    reward_images: int
    train_images: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_epochs: float
    norm_momentum: float
    trials: int
    target_ms: float
    steps: int
    child_s: float

    @property
    def accuracy_error(self) -> float:
        """Largest standard error of an accuracy that is measured on the reward set."""
        return 0.5 / math.sqrt(self.reward_images)


def look_at(directory: str) -> DataSummary:
    """Return what a folder holds: CIFAR-10's binary batches, or train/CLASS/IMAGE files.

    Raises:
        DataError: There are no images, fewer than two classes, or the layout is another.
    """
    folder = user_path(directory)
    if (folder / cifar10.TRAINING_FILES[0]).is_file():
        images = Cifar10BinarySettings(directory=str(folder)).load_training()
        sizes = {name: int((images.labels == label).sum()) for label, name in enumerate(cifar10.CIFAR10_NAMES)}
        has_test_set = all((folder / name).is_file() for name in cifar10.TEST_FILES)
        return DataSummary(directory, "cifar10_binary", sizes, cifar10.SIDE, has_test_set)
    listing = list_training(folder)
    sizes = {name: int((listing.labels == label).sum()) for label, name in enumerate(listing.class_names)}
    has_test_set = any((folder / name).is_dir() for name in TEST_FOLDERS)
    if has_test_set:
        list_test(folder, None, listing.class_names)
    return DataSummary(directory, "image_folder", sizes, _median_side(listing), has_test_set)


def plan(summary: DataSummary) -> Plan:
    """Return the values of a first experiment on these images.

    Raises:
        DataError: A class has too few images to hold some out for the reward.
    """
    smallest = min(summary.class_sizes, key=lambda name: summary.class_sizes[name])
    if summary.class_sizes[smallest] < MIN_CLASS_IMAGES:
        raise DataError(
            f"{summary.directory}: class {smallest!r} has {summary.class_sizes[smallest]} training images, too few to "
            f"hold some out for the reward; collect at least {MIN_CLASS_IMAGES} for every class, or remove the class"
        )
    space, image_size, target_ms = space_for(summary.side)
    reward_images = reward_images_for(summary.images)
    left = summary.images - reward_images
    most = 6000 if image_size <= 32 else 2000  # a child should train for about a minute at most
    train_images = min(left, most)
    batch_size = batch_size_for(train_images, image_size)
    steps_per_epoch = train_images // batch_size
    epochs = max(2, math.ceil(STEPS / steps_per_epoch))
    steps = epochs * steps_per_epoch
    return Plan(
        space=space,
        image_size=image_size,
        reward_images=reward_images,
        train_images=None if train_images == left else train_images,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=LEARNING_RATE * batch_size / 64,
        warmup_epochs=round(epochs / 10, 1),
        norm_momentum=norm_momentum_for(steps),
        trials=20 if reward_images < FEW_REWARD_IMAGES else 40,
        target_ms=target_ms,
        steps=steps,
        child_s=epochs * train_images * (image_size / 32) ** 2 / IMAGES_PER_S,
    )


def space_for(side: int) -> tuple[str, int, float]:
    """Return a search space, an image size (pixels) and a target latency (ms) for images of this side (pixels).

    Children must train in about a minute on one core, so photographs are searched at 64 pixels. The space `mnasnet` at
    224 pixels is for NPUs.

    >>> space_for(20), space_for(32), space_for(1000)
    (('tiny16', 16, 0.07), ('small32', 32, 0.25), ('small32', 64, 0.8))
    """
    if side < 24:
        return "tiny16", 16, 0.07
    return ("small32", 32, 0.25) if side < 64 else ("small32", 64, 0.8)


def reward_images_for(images: int) -> int:
    """Return how many of the training images to hold out: a fifth, at most 2,000.

    The standard error of an accuracy is at most 0.5 / sqrt(images): 1.1 points with 2,000 images, 8 points with 40.

    >>> reward_images_for(200), reward_images_for(50_000)
    (40, 2000)
    """
    return min(images // 5, MAX_REWARD_IMAGES)


def batch_size_for(train_images: int, image_size: int) -> int:
    """Return the largest batch size of 64, 32, 16 and 8 with at least eight steps in an epoch, else 8.

    Above 32 pixels it is at most 32, so that 200 steps take about a minute.

    >>> batch_size_for(6000, 32), batch_size_for(2000, 64), batch_size_for(160, 64), batch_size_for(16, 64)
    (64, 32, 16, 8)
    """
    sizes = (64, 32, 16, 8) if image_size <= 32 else (32, 16, 8)
    return next((size for size in sizes if train_images >= 8 * size), 8)


def norm_momentum_note(momentum: float, steps: int) -> str | None:
    """Return what to say if `training.norm_momentum` is too high for the steps of a training; None otherwise.

    It is too high if more than 1% of the moving statistics are still the initial ones at the end, and a lower value is
    recommended.

    >>> norm_momentum_note(0.9, 85)
    >>> norm_momentum_note(0.99, 85)
    'training.norm_momentum is 0.99: after 85 steps, 43% of the moving statistics are still the initial ones; use 0.9'
    """
    share, recommended = momentum**steps, norm_momentum_for(steps)
    if share <= 0.01 or momentum <= recommended:
        return None
    return (
        f"training.norm_momentum is {momentum:g}: after {steps} steps, {share:.0%} of the moving statistics are still "
        f"the initial ones; use {recommended:g}"
    )


def experiment_yaml(summary: DataSummary, chosen: Plan, file_name: str) -> str:
    """Return the experiment as YAML, with the reasons in comments."""
    left = summary.images - chosen.reward_images
    trained = chosen.train_images or left
    minutes = math.ceil(chosen.trials * chosen.child_s / 2 / 60)
    averaged = round(1 / (1 - chosen.norm_momentum))
    lines = [
        _SCHEMA_LINE,
        f"# A first search on {summary.directory}: {summary.images:,} training images of {len(summary.class_sizes)} "
        f"classes, {_each(summary)}.",
        "#",
        f"#   mnas search {file_name}",
        "#",
        "# Written by `mnas init --data`. The values are starting points, and the comments say why. On two cores the",
        f"# search takes roughly {minutes} minutes.",
        *(_few_images(chosen) if chosen.reward_images < FEW_REWARD_IMAGES else ()),
        f"space: {chosen.space}",
        "",
        "data:",
        f"  format: {summary.format}",
        f"  directory: {yaml_file.dump(summary.directory).splitlines()[0]}",
        _with_reason(f"  image_size: {chosen.image_size}", f"pixels; the images have about {summary.side}"),
        _with_reason("  augment: crop_flip", "shifts and mirrors; use none if a mirrored image means something else"),
        _with_reason(
            f"  reward_images: {chosen.reward_images}",
            f"held out; they measure accuracy to {100 * chosen.accuracy_error:.1f} points (standard error)",
        ),
    ]
    if chosen.train_images is not None:
        lines.append(_with_reason(f"  train_images: {trained}", f"of the other {left:,}, so that a child is quick"))
    lines += [
        "",
        _with_reason("training:", "of every child"),
        _with_reason(
            f"  epochs: {chosen.epochs}", f"{chosen.steps} steps in all; below {STEPS} a network has learnt little"
        ),
        _with_reason(f"  batch_size: {chosen.batch_size}", f"{chosen.steps // chosen.epochs} steps in an epoch"),
        _with_reason(f"  learning_rate: {chosen.learning_rate:g}", f"{LEARNING_RATE} at a batch of 64, scaled with it"),
        "  optimizer: {name: rmsprop, decay: 0.9, momentum: 0.9, epsilon: 1e-3}",
        f"  schedule: {{name: cosine, warmup_epochs: {chosen.warmup_epochs:g}}}",
        "  weight_decay: 1e-5",
        _with_reason(
            f"  norm_momentum: {chosen.norm_momentum:g}",
            f"averages over {averaged} of the {chosen.steps} steps; the default, 0.99, is for 800 and more",
        ),
        "",
        "controller:",
        "  name: ppo",
        "",
        "search:",
        _with_reason(f"  trials: {chosen.trials}", "the same command with more goes on from here"),
        _with_reason("  workers: auto", "one for every core"),
        "",
        "latency:",
        _with_reason("  phone: host", "this machine; or a name given to `mnas phones add`"),
        "  # A guess. See what your phone gives for this space, and take a value near the middle:",
        f"  #   mnas space latency {chosen.space} --image-size {chosen.image_size} --phone host --count 20",
        f"  target_ms: {chosen.target_ms:g}",
        "",
        "reward:",
        _with_reason("  form: soft", "accuracy x (latency / target)^-0.07"),
        "",
        "device: CPU",
        "seed: 0",
        *(() if summary.has_test_set else _NO_TEST_SET),
    ]
    return "\n".join(lines) + "\n"


def copy_experiment(name: str, to: Path | None) -> Path:
    """Copy a bundled experiment and return the path of the copy.

    Args:
        name: Name of the experiment.
        to: File to write; None for NAME.yaml in the working directory.

    Raises:
        ConfigurationError: There is no such experiment, or the file exists or cannot be written.
    """
    source = find_experiment(name)
    path = to or Path(source.name)
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{source}: cannot be read ({error.strerror})") from error
    command = re.compile(rf"mnas search (\w+/)?{re.escape(source.stem)}\n")
    return _write_new(path, command.sub(lambda _: f"mnas search {one_line(path)}\n", text))


def write_experiment(directory: str, to: Path | None) -> Path:
    """Write a first experiment for a folder of images and return its path.

    Args:
        directory: The folder.
        to: File to write; None for the folder's name with .yaml in the working directory.

    Raises:
        ConfigurationError: The file exists or cannot be written.
        DataError: The images cannot be searched on.
    """
    path = to or Path(f"{Path(directory).resolve().name}.yaml")
    if path_text(directory) != directory:
        raise DataError(f"{directory}: the name is no UTF-8, as YAML files are; rename it, or give a link to it")
    summary = look_at(directory)
    return _write_new(path, experiment_yaml(summary, plan(summary), one_line(path)))


def _write_new(path: Path, text: str) -> Path:
    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        raise ConfigurationError(f"{path}: exists already; choose another file with --to") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror}); choose another with --to") from error
    return path


_SCHEMA_LINE = "# yaml-language-server: $schema=experiment.schema.json"
_NO_TEST_SET = (
    "",
    "# There is no test set. `mnas retrain` and `mnas validate` need one: move some images of every class to",
    "# test/CLASS. The search never opens it.",
)


def _with_reason(line: str, reason: str) -> str:
    return f"{line:<27} # {reason}"


def _each(summary: DataSummary) -> str:
    smallest, largest = min(summary.class_sizes.values()), max(summary.class_sizes.values())
    return f"{smallest:,} each" if smallest == largest else f"{smallest:,} to {largest:,} each"


def _few_images(chosen: Plan) -> list[str]:
    return [
        "#",
        "# This is a small data set. What that means:",
        f"# - Networks whose accuracies differ by less than about {200 * chosen.accuracy_error:.0f} points cannot be "
        "told apart. More trials",
        f"#   would only find the luckiest one, so there are {chosen.trials}.",
        "# - Do not trust the best network alone: look at the best five (`mnas best RUN --count 5`), train each fully",
        "#   (`mnas retrain RUN --trial N`), and compare them on the test set.",
        "# - More images help more than any setting here. A network that was trained on other data and is fine-tuned",
        "#   often does better on a few hundred photographs. mnas trains from scratch.",
    ]


def _median_side(listing: FileListing) -> int:
    from PIL import Image, UnidentifiedImageError  # 50 ms that the rules above do not need

    sides: list[int] = []
    for position in range(0, len(listing), math.ceil(len(listing) / _SAMPLED_FILES)):
        path = listing.path(position)
        try:
            with Image.open(path) as image:  # reads the header only
                sides.append(min(image.size))
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"{path}: cannot be read as an image; replace or remove it") from error
    return round(statistics.median(sides))
