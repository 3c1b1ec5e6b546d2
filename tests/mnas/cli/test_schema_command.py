import json
from typing import Any

import jsonschema
import pytest
import yaml

from mnas.bundled_files import experiment_names, find_experiment, find_recipe, recipe_names
from mnas.cli import main


def schema(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["schema", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", experiment_names())
def test_bundled_experiments_fit_the_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.validate(with_floats(find_experiment(name).read_text()), schema(capsys))


@pytest.mark.parametrize("name", recipe_names())
def test_bundled_recipes_fit_the_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.validate(with_floats(find_recipe(name).read_text()), schema(capsys, "--recipe"))


def test_an_editor_is_told_what_keys_mean(capsys: pytest.CaptureFixture[str]) -> None:
    search = schema(capsys)["$defs"]["SearchSettings"]["properties"]
    assert all(key["description"] for key in search.values())


def test_a_misspelt_key_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    document = with_floats(find_experiment("quickstart").read_text())
    document["trainng"] = document.pop("training")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema(capsys))


def with_floats(text: str) -> Any:
    """Read YAML; PyYAML takes 1e-3 for text, an editor's YAML 1.2 for a number."""
    return yaml.safe_load(text.replace("1e-3", "0.001").replace("1e-5", "0.00001").replace("1e-10", "1.0e-10"))
