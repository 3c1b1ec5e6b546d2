import configparser
import doctest
from collections.abc import Callable
from pathlib import Path

import pytest

from mnas import bundled_files
from mnas.bundled_files import experiment_names, find_experiment, find_recipe, recipe_names
from mnas.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


def test_the_documented_names_are_there() -> None:
    assert doctest.testmod(bundled_files).failed == 0


@pytest.mark.parametrize(
    ("names", "find"), [(experiment_names, find_experiment), (recipe_names, find_recipe)], ids=["experiment", "recipe"]
)
def test_every_name_is_found(names: Callable[[], list[str]], find: Callable[[str], Path]) -> None:
    assert all(find(name).is_file() for name in names())


def test_a_path_stays_as_it_is() -> None:
    assert find_experiment("mine/search.yaml") == Path("mine/search.yaml")


@pytest.mark.parametrize("path", ["./paper/cifar10_soft", "paper/cifar10_soft.yaml", "/paper/cifar10_soft"])
def test_a_path_that_looks_like_a_name_stays_as_it_is(path: str) -> None:
    assert find_experiment(path) == Path(path)


def test_a_misspelt_experiment_of_the_paper_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"called 'paper/cifar10_sofft' .did you mean 'paper/cifar10_soft'"):
        find_experiment("paper/cifar10_sofft")


def test_a_wheel_holds_every_bundled_file() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = [pattern.strip() for pattern in setup["options.package_data"]["mnas.bundled"].split(",")]
    packed = {path for pattern in patterns for path in (ROOT / "experiments").glob(pattern)}
    assert packed == {find_experiment(name) for name in experiment_names()} | {
        find_recipe(name) for name in recipe_names()
    }


def test_a_misspelt_experiment_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"no experiment is called 'quickstrat' .did you mean 'quickstart'"):
        find_experiment("quickstrat")


def test_a_misspelt_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"no recipe is called 'cifar' .did you mean 'cifar10'"):
        find_recipe("cifar")


def test_an_installed_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mnas"
    (package / "bundled" / "recipes").mkdir(parents=True)
    (package / "bundled" / "only.yaml").touch()
    (tmp_path / "experiments").mkdir()
    monkeypatch.setattr(bundled_files, "_PACKAGE", package)
    assert experiment_names() == ["only"]
