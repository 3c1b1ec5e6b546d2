import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["strategies"])
def test_examples_in_docstrings_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"controllers.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
