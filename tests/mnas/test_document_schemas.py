"""The JSON Schemas, judged by the jsonschema package: they allow what we read, and refuse what we refuse."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from controllers import STRATEGIES
from mnas.bundled_files import experiment_names, find_experiment, find_recipe, recipe_names
from mnas.document_schemas import Schema, experiment_schema, recipe_schema
from mnas.documents import yaml_file
from mnas.documents.check import convert
from mnas.documents.json_schema import DRAFT
from mnas.errors import Error
from mnas.experiment import Experiment

SCHEMAS = {"experiment": experiment_schema(), "recipe": recipe_schema()}
FILES = [(find_experiment(name), "experiment") for name in experiment_names()]
FILES += [(find_recipe(name), "recipe") for name in recipe_names()]


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every key of a schema with its path."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from properties(item, f"{path}[{number}]")
    if isinstance(schema, dict):
        for key, value in schema.get("properties", {}).items():
            yield f"{path}.{key}", value
        for key, value in schema.items():
            if key != "default":
                yield from properties(value, f"{path}.{key}")


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_every_key_is_described(schema: Schema) -> None:
    found = dict(properties(schema))
    assert len(found) > 40
    assert [path for path, value in found.items() if not value.get("description")] == []


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_it_is_a_schema_and_json(schema: Schema) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema, allow_nan=False))["$schema"] == DRAFT


@pytest.mark.parametrize(("path", "kind"), FILES, ids=lambda each: getattr(each, "stem", each))
def test_the_bundled_files_fit(path: Path, kind: str) -> None:
    jsonschema.validate(yaml_file.read(path, dict[str, Any]), SCHEMAS[kind])


def test_bounds_defaults_and_units_are_there() -> None:
    search = SCHEMAS["experiment"]["$defs"]["SearchSettings"]["properties"]
    assert (search["trials"]["minimum"], search["trials"]["maximum"]) == (1, 1_000_000)
    assert search["child_timeout_s"]["default"] == 3600
    assert "seconds" in search["child_timeout_s"]["description"]


BASE: dict[str, Any] = {
    "space": "tiny16",
    "data": {"format": "digits", "image_size": 16},
    "training": {"epochs": 1, "learning_rate": 0.01},
    "search": {"trials": 2},
    "latency": {"target_ms": 1.0},
}


@pytest.mark.parametrize(
    "change",
    [
        {"search": {"trials": 0}},
        {"search": {"trails": 2}},
        {"data": {"format": "digit"}},
        {"data": {"format": "digits", "directory": "somewhere"}},
        {"training": {"epochs": 1, "learning_rate": 0.01, "optimizer": {"name": "sgd", "decay": 0.9}}},
        {"latency": {"target_ms": 1.0, "measurement": {"run": 3}}},
        {"latency": {"target_ms": 1.0, "measurement": {"runs": 0}}},
        {"controller": {}},
        {"controller": {"name": "pppo"}},
        {"controller": {"name": "ppo", "preset": "best"}},
        {"controller": {"name": "regularized_evolution", "population_size": 0}},
        {"controller": {"name": "regularized_evolution", "populaton_size": 50}},
    ],
    ids=str,
)
def test_what_we_refuse_it_refuses(change: dict[str, Any]) -> None:
    document = BASE | change
    with pytest.raises(Error):
        convert(document, Experiment, source="experiment").check()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMAS["experiment"])


@pytest.mark.parametrize(
    "change",
    [
        {"controller": {"name": "ppo", "preset": "paper"}},
        {"controller": {"name": "my_module:MyController", "anything": 3}},
        {"latency": {"target_ms": 1.0, "measurement": {"runs": 3}, "others": {"pixel6": {"target_ms": 2.0}}}},
        {"training": {"epochs": 1, "learning_rate": 0.01, "ema": None, "optimizer": {"name": "adam"}}},
    ],
    ids=str,
)
def test_what_we_allow_it_allows(change: dict[str, Any]) -> None:
    convert(BASE | change, Experiment, source="experiment")
    jsonschema.validate(BASE | change, SCHEMAS["experiment"])


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_defaults_of_a_strategy_are_allowed(name: str) -> None:
    values = {each.name: each.default for each in STRATEGIES[name].described_hyperparameters()}
    jsonschema.validate(BASE | {"controller": {"name": name, **values}}, SCHEMAS["experiment"])
