"""The experiments and recipes that come with mnas, by name.

A wheel holds them in `mnas/bundled`. They are the YAML files of the repository's `experiments/` folder: setup.py maps
that folder when a wheel is built. A checkout and an editable install use the folder itself.
"""

from __future__ import annotations

from pathlib import Path

from mnas.documents.names import is_path, unknown_name
from mnas.documents.user_paths import user_path
from mnas.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent
_EXPERIMENTS = ("*.yaml", "paper/*.yaml")
_RECIPES = ("*.yaml",)


def experiment_names() -> list[str]:
    """Return the names of the bundled experiments, sorted; those of the paper are called `paper/...`.

    >>> [name for name in experiment_names() if not name.startswith("paper/")]
    ['cifar10', 'imagenet_ascend', 'phone_quickstart', 'quickstart']
    """
    return _names(_experiments_folder(), *_EXPERIMENTS)


def recipe_names() -> list[str]:
    """Return the names of the bundled recipes, sorted.

    >>> recipe_names()
    ['cifar10', 'mnasnet_0.75_ascend', 'mnasnet_paper']
    """
    return _names(_recipes_folder(), *_RECIPES)


def find_experiment(name_or_path: str | Path) -> Path:
    """Return the path of an experiment.

    Args:
        name_or_path: The name of a bundled experiment, or the path of a YAML file, which need not exist.

    Raises:
        ConfigurationError: No bundled experiment has this name.
    """
    return _find(name_or_path, "experiment", _experiments_folder(), experiment_names())


def find_recipe(name_or_path: str | Path) -> Path:
    """Return the path of a recipe.

    Args:
        name_or_path: The name of a bundled recipe, or the path of a YAML file, which need not exist.

    Raises:
        ConfigurationError: No bundled recipe has this name.
    """
    return _find(name_or_path, "recipe", _recipes_folder(), recipe_names())


def _experiments_folder() -> Path:
    installed = _PACKAGE / "bundled"
    return installed if installed.is_dir() else _PACKAGE.parent / "experiments"


def _recipes_folder() -> Path:
    return _experiments_folder() / "recipes"


def _names(folder: Path, *patterns: str) -> list[str]:
    paths = (path for pattern in patterns for path in folder.glob(pattern))
    return sorted(path.relative_to(folder).as_posix().removesuffix(".yaml") for path in paths)


def _find(name_or_path: str | Path, kind: str, folder: Path, names: list[str]) -> Path:
    if is_path(name_or_path) and not _is_below_folder(str(name_or_path), names):
        return user_path(name_or_path)
    if name_or_path not in names:
        raise ConfigurationError(unknown_name(kind, str(name_or_path), names))
    return folder / f"{name_or_path}.yaml"


def _is_below_folder(text: str, names: list[str]) -> bool:
    """Return whether a text is meant as a name with a folder, as `paper/cifar10_soft` is."""
    folders = tuple({name[: name.index("/") + 1] for name in names if "/" in name})
    return text.startswith(folders) and not text.endswith((".yaml", ".yml"))
