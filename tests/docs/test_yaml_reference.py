"""The generated reference of YAML keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, name
from tools.yaml_reference import keys_without_meaning, yaml_reference


def test_every_key_has_a_meaning() -> None:
    assert keys_without_meaning() == []


# Those of a cluster are for Ray and Kubernetes.
OURS = [path for path in sorted((ROOT / "experiments").rglob("*.yaml")) if path.parent.name != "cluster"]


@pytest.mark.parametrize("path", OURS, ids=name)
def test_it_names_every_key_of_the_bundled_files(path: Path) -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", yaml_reference(), re.MULTILINE))
    assert _keys(yaml.safe_load(path.read_text())) - named - {"name"} == set()


def _keys(document: Any) -> set[str]:
    if not isinstance(document, dict):
        return set()
    return set(document) | {key for value in document.values() for key in _keys(value)}


def test_it_gives_bounds_defaults_and_units() -> None:
    row = next(line for line in yaml_reference().splitlines() if line.startswith("| `memory_limit_gb` |"))
    assert "10^9 bytes" in row
    assert "number >\N{NO-BREAK SPACE}0" in row
    assert "`4`" in row


def test_it_gives_the_bounds_of_the_measurement_protocol() -> None:
    row = next(line for line in yaml_reference().splitlines() if line.startswith("| `thermal_status_limit` |"))
    assert row.endswith("| whole number ≥\N{NO-BREAK SPACE}0, ≤\N{NO-BREAK SPACE}6 | `0` |")
