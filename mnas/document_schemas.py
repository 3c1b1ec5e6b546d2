"""JSON Schemas of the YAML files: for editors, which complete and check the keys, and for other programs.

The types, bounds and defaults are those that check the files; the descriptions are the docstrings of the same classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from controllers import STRATEGIES, Strategy
from latency import MeasurementSettings
from latency.measurement.protocol import BOUNDS
from mnas.documents.json_schema import describe_keys, json_schema
from mnas.documents.meanings import sentence
from mnas.experiment import Experiment
from mnas.retrain.recipe import Recipe
from search_space import SearchSpace

Schema = dict[str, Any]


def experiment_schema() -> Schema:
    """Return the JSON Schema of an experiment."""
    schema = json_schema(Experiment)
    definitions = schema["$defs"]
    definitions["Experiment"]["properties"]["space"]["examples"] = list(SearchSpace.names())
    definitions["Experiment"]["properties"]["controller"].update(_controller())
    definitions["LatencySettings"]["properties"]["measurement"].update(_measurement())
    return schema


def recipe_schema() -> Schema:
    """Return the JSON Schema of a recipe."""
    return json_schema(Recipe)


def _controller() -> Schema:
    """Return what makes the schema of `controller` exact: one form for each strategy, and one for an own controller."""
    own = {
        "title": "a controller of your own",
        "properties": {
            "name": {"type": "string", "pattern": ":", "description": "Your class, as `package.module:Name`."}
        },
        "required": ["name"],
    }
    return {"default": {"name": "ppo"}, "anyOf": [*map(_strategy, STRATEGIES.values()), own]}


def _strategy(strategy: Strategy) -> Schema:
    properties: Schema = {"name": {"const": strategy.name, "description": sentence(strategy.summary)}}
    for described in strategy.described_hyperparameters():
        properties[described.name] = {"description": sentence(described.doc), "default": described.default}
    for field in dataclasses.fields(strategy.hyperparameters):
        properties[field.name] |= _hyperparameter(field)
    if strategy.presets:
        properties["preset"]["enum"] = list(strategy.presets)
    return {"title": strategy.name, "properties": properties, "required": ["name"], "additionalProperties": False}


def _hyperparameter(field: dataclasses.Field[Any]) -> Schema:
    match field.default:
        case bool():
            return {"type": "boolean"}
        case str():
            return {"enum": list(field.metadata["options"])}
        case int():
            kind = "integer"
        case _:
            kind = "number"
    return {"type": kind, "minimum": field.metadata["low"], "maximum": field.metadata["high"]}


def _measurement() -> Schema:
    """Return what makes the schema of `latency.measurement` exact: the fields of the measurement protocol."""
    definition = msgspec.json.schema(MeasurementSettings)["$defs"]["MeasurementSettings"]
    describe_keys(definition, MeasurementSettings)
    for key, (low, high) in BOUNDS.items():
        definition["properties"][key] |= {"minimum": low, "maximum": high}
    return {"default": {}, "properties": definition["properties"], "additionalProperties": False}
