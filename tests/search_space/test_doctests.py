import doctest
import importlib
import pkgutil

import pytest

import search_space

MODULES = [module.name for module in pkgutil.iter_modules(search_space.__path__, "search_space.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", ["space", "block_string", "references"])
def test_main_modules_have_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"search_space.{name}")).attempted > 0
