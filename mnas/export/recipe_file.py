"""The retraining recipe of an exported folder: one that a user has chosen, made to fit the network."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mnas.data import InputForm
from mnas.documents import yaml_file
from mnas.errors import ConfigurationError
from mnas.retrain.recipe import Recipe, load_recipe


def recipe_for(path: Path, form: InputForm) -> Recipe:
    """Read a recipe of mnas or MindCV and give it the image size and the number of classes of a network.

    It names no architecture: the folder has its own.

    Raises:
        DocumentError: The file is no recipe.
        ConfigurationError: The recipe cannot be carried out, or its images have other channels than the network takes.
    """
    recipe = load_recipe(path)
    if recipe.data.channels not in (None, form.channels):
        raise ConfigurationError(
            f"{path}: its images have {recipe.data.channels} channels, the network takes {form.channels}; choose "
            "another recipe"
        )
    data = msgspec.structs.replace(recipe.data, image_size=form.image_size)
    return msgspec.structs.replace(recipe, data=data, num_classes=form.num_classes, architecture=None, width=1.0)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe with every default spelled out; `load_recipe` reads an equal one.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(yaml_file.dump(recipe), encoding="utf-8")
