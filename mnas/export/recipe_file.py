"""The retraining recipe of an exported folder: one that a user has chosen, fitted to the network and its search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from mnas.data import (
    Cifar10BinarySettings,
    DataSettings,
    DigitsSettings,
    ImageFolderSettings,
    InputForm,
    Normalization,
    OwnDataSettings,
)
from mnas.data.settings import ImageSettings
from mnas.documents import yaml_file
from mnas.documents.foreign_text import one_line
from mnas.errors import ConfigurationError, DataError
from mnas.experiment import Experiment
from mnas.export.source import Source
from mnas.retrain.recipe import SEARCH_KEYS, Recipe, load_recipe
from mnas.training.moving_averages import ema_decay_for, norm_momentum_for
from mnas.training.settings import Ema, Staircase, TrainingSettings

BuiltInSettings: TypeAlias = DigitsSettings | Cifar10BinarySettings | ImageFolderSettings
CHILD_STEPS = 10
"""Steps of a full training, as a multiple of those of a child of the search."""
STEPS_PER_EPOCH = 8
"""Fewest steps of an epoch; the batch is halved until there are as many."""
SMALLEST_BATCH = 8


@dataclass(frozen=True)
class FittedRecipe:
    """A recipe for one network.

    Attributes:
        recipe: The recipe.
        notes: What was changed, and what was not and why; a line each.
    """

    recipe: Recipe
    notes: tuple[str, ...]


def recipe_for(path: Path, source: Source, form: InputForm) -> FittedRecipe:
    """Read a recipe of mnas or MindCV and fit it to a network.

    It gets the image size and the number of classes of the network, and names no architecture: the folder has its own.
    For a network that a search has found, the images and their preparation become those of the search, and epochs,
    batch size and moving averages are fitted to their number.

    Args:
        path: The recipe.
        source: Where the network comes from.
        form: The images that the exported network takes.

    Raises:
        DocumentError: The file is no recipe.
        ConfigurationError: The recipe cannot be carried out, or its images have other channels than the network takes.
    """
    recipe = load_recipe(path)
    recipe = msgspec.structs.replace(recipe, num_classes=form.num_classes, architecture=None, width=1.0)
    notes = [f"image size {form.image_size} and {form.num_classes} classes of the network"]
    experiment = _search_on(source, form)
    searched = None if experiment is None else _for_full_training(experiment.data)
    data = recipe.data if searched is None else searched
    if data.channels not in (None, form.channels):
        raise ConfigurationError(
            f"{path}: its images have {data.channels} channels, the network takes {form.channels}; choose another "
            "recipe"
        )
    if searched is None and source.provenance.input is not None and isinstance(data, ImageSettings):
        data = msgspec.structs.replace(data, normalize=Normalization(mean=form.mean, std=form.std))
        notes.append("normalization of the network")
    if isinstance(data, ImageSettings) and data.crop_padding is not None and data.crop_padding >= form.image_size:
        data = msgspec.structs.replace(data, crop_padding=None)
    recipe = msgspec.structs.replace(recipe, data=msgspec.structs.replace(data, image_size=form.image_size))
    if experiment is None or searched is None:
        notes.append(f"not fitted: images, epochs, batch size and moving averages are those of {path.name}")
        return FittedRecipe(recipe, tuple(notes))
    notes.append("images, their folder and their preparation of the search")
    try:
        images = searched.count_training_images()
        fitted = _fitted_to(recipe, experiment, images)
    except DataError as error:
        notes.append(
            f"not fitted: epochs, batch size and moving averages are those of {path.name}, because the images of "
            f"the search cannot be counted ({error})"
        )
        return FittedRecipe(recipe, tuple(notes))
    notes.extend(_changes(recipe.training, fitted.training, images))
    return FittedRecipe(fitted, tuple(notes))


def write_recipe(path: Path, fitted: FittedRecipe) -> None:
    """Write a recipe with every default spelled out; `load_recipe` reads an equal one.

    Raises:
        OSError: The file cannot be written.
    """
    notes = "".join(f"# - {one_line(note)}\n" for note in fitted.notes)
    path.write_text(f"# Fitted to the network of this folder:\n{notes}{yaml_file.dump(fitted.recipe)}", "utf-8")


def _search_on(source: Source, form: InputForm) -> Experiment | None:
    """Return the search of a network if its images are those that the exported network takes."""
    if source.run is None or form.num_classes != source.run.images.num_classes:
        return None
    return source.run.experiment if form.channels == source.run.images.channels else None


def _for_full_training(data: DataSettings) -> BuiltInSettings | None:
    """Return the images of a search without the keys of a search; None if a function of the user's loads them."""
    if isinstance(data, OwnDataSettings):
        return None
    defaults = {field.name: field.default for field in msgspec.structs.fields(data)}
    return msgspec.structs.replace(data, **{key: defaults[key] for key in SEARCH_KEYS})


def _fitted_to(recipe: Recipe, experiment: Experiment, images: int) -> Recipe:
    """Fit epochs, batch size, learning rate, schedule and moving averages to the number of training images."""
    settings = recipe.training
    if recipe.validation is not None:
        images -= recipe.validation.count(images)
    batch_size = settings.batch_size
    while batch_size // 2 >= SMALLEST_BATCH and images < STEPS_PER_EPOCH * batch_size:
        batch_size //= 2
    steps_per_epoch = max(1, images // batch_size)
    epochs = max(settings.epochs, math.ceil(CHILD_STEPS * _child_steps(experiment, images) / steps_per_epoch))
    longer, steps = epochs / settings.epochs, epochs * steps_per_epoch
    schedule = msgspec.structs.replace(
        settings.schedule, warmup_epochs=round(settings.schedule.warmup_epochs * longer, 3)
    )
    if isinstance(schedule, Staircase):
        schedule = msgspec.structs.replace(schedule, every_epochs=round(schedule.every_epochs * longer, 3))
    # A ramp averages over no more steps than there have been.
    ema = settings.ema and Ema(decay=min(settings.ema.decay, ema_decay_for(steps)), ramp=True)
    training = msgspec.structs.replace(
        settings,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=settings.learning_rate * batch_size / settings.batch_size,
        schedule=schedule,
        norm_momentum=min(settings.norm_momentum, norm_momentum_for(steps)),
        ema=ema,
    )
    micro = recipe.micro_batch_size if batch_size == settings.batch_size else None
    return msgspec.structs.replace(recipe, training=training, micro_batch_size=micro)


def _child_steps(experiment: Experiment, images: int) -> int:
    """Return the optimizer steps of a child of a search."""
    data = experiment.data
    reward_images = data.reward_images or 0 if isinstance(data, ImageSettings) else 0
    train_images = data.train_images if isinstance(data, ImageSettings) else None
    trained = train_images or max(1, images - reward_images)
    return experiment.training.epochs * max(1, trained // experiment.training.batch_size)


def _changes(before: TrainingSettings, after: TrainingSettings, images: int) -> Iterator[str]:
    """Yield a line for each value that was fitted to the number of images."""
    yield f"{images:,} training images"
    for name in ("epochs", "batch_size", "learning_rate", "norm_momentum"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"training.{name} {old:g} -> {new:g}"
    if before.ema is not None and after.ema is not None and before.ema != after.ema:
        yield f"training.ema.decay {before.ema.decay:g} -> {after.ema.decay:g}, with a ramp"
