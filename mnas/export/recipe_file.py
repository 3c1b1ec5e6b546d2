"""The retraining recipe of an exported folder: one that a user has chosen, made to fit the network."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import fields

from mnas.data import InputForm
from mnas.data.own import OwnDataSettings
from mnas.documents import yaml_file
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment
from mnas.retrain.recipe import SEARCH_KEYS, Recipe, load_recipe


def recipe_for(path: Path, form: InputForm, experiment: Experiment | None = None) -> Recipe:
    """Read a recipe of mnas or MindCV and fit it to a network.

    It gets the image size and the number of classes, and names no architecture: the folder has its own. For the network
    of a search it also gets the images of the search, with their folder, normalization and augmentation, and moving
    averages that suit as few steps as its children had. Epochs, learning rate and the rest stay the recipe's.

    Args:
        path: The recipe.
        form: The images that the network takes.
        experiment: The search that has found the network; None for other networks.

    Raises:
        DocumentError: The file is no recipe.
        ConfigurationError: The recipe cannot be carried out, or its images have other channels than the network takes.
    """
    recipe = load_recipe(path)
    if experiment is not None:
        recipe = _fitted(recipe, experiment)
    if recipe.data.channels not in (None, form.channels):
        raise ConfigurationError(
            f"{path}: its images have {recipe.data.channels} channels, the network takes {form.channels}; choose "
            "another recipe"
        )
    data = msgspec.structs.replace(recipe.data, image_size=form.image_size)
    return msgspec.structs.replace(recipe, data=data, num_classes=form.num_classes, architecture=None, width=1.0)


def _fitted(recipe: Recipe, experiment: Experiment) -> Recipe:
    data = experiment.data
    if not isinstance(data, OwnDataSettings):  # a function of the user's own gives a search and a recipe other things
        defaults = {field.name: field.default for field in fields(data)}
        data = msgspec.structs.replace(data, **{key: defaults[key] for key in SEARCH_KEYS})
    training, ema = recipe.training, recipe.training.ema
    training = msgspec.structs.replace(
        training,
        norm_momentum=min(training.norm_momentum, experiment.training.norm_momentum),
        # A ramp averages over no more steps than there have been.
        ema=None if ema is None else msgspec.structs.replace(ema, ramp=True),
    )
    return msgspec.structs.replace(recipe, data=data, training=training)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe with every default spelled out; `load_recipe` reads an equal one.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(yaml_file.dump(recipe), encoding="utf-8")
