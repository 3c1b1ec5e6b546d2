import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["check", "html_table", "json_schema", "meanings", "names", "own_parts", "yaml_file"])
def test_examples_in_docstrings_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"mnas.documents.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
