"""JSON Schemas of the YAML files: for editors, which complete and check the keys, and for other programs.

The types, bounds and defaults are those that check the files; the descriptions are the docstrings of the same classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from controllers import STRATEGIES, Strategy
from latency import MeasurementSettings
from mnas.documents.meanings import meanings_of, sentence, summary, with_unit
from mnas.experiment import Experiment
from mnas.retrain.recipe import Recipe
from search_space import SearchSpace

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def experiment_schema() -> Schema:
    """Return the JSON Schema of an experiment."""
    schema = _schema_of(Experiment, "an experiment of `mnas search`")
    definitions = schema["$defs"]
    definitions["Experiment"]["properties"]["space"]["examples"] = list(SearchSpace.names())
    definitions["Experiment"]["properties"]["controller"].update(_controller())
    definitions["LatencySettings"]["properties"]["measurement"].update(_measurement())
    return schema


def recipe_schema() -> Schema:
    """Return the JSON Schema of a recipe."""
    return _schema_of(Recipe, "a recipe of `mnas retrain`")


def _schema_of(document: type[msgspec.Struct], title: str) -> Schema:
    schema = msgspec.json.schema(document)
    for struct in {each.cls: each for each in _structs(inspect.type_info(document))}.values():
        definition = schema["$defs"][struct.cls.__name__]
        definition["description"] = summary(struct.cls)
        meanings = meanings_of(struct.cls)
        for key, value in definition["properties"].items():
            if key == struct.tag_field:
                value["description"] = f"Chooses this form: {struct.tag}."
            else:
                value["description"] = with_unit(key, meanings.get(key, ""))
    return {"$schema": DRAFT, "title": title, **schema}


def _structs(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """Yield every struct that a document can hold."""
    match kind:
        case inspect.StructType():
            yield kind
            for field in kind.fields:
                yield from _structs(field.type)
        case inspect.UnionType():
            for member in kind.types:
                yield from _structs(member)
        case inspect.DictType():
            yield from _structs(kind.value_type)
        case inspect.VarTupleType() | inspect.ListType():
            yield from _structs(kind.item_type)
        case inspect.Metadata():
            yield from _structs(kind.type)


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
    meanings = meanings_of(MeasurementSettings)
    definition = msgspec.json.schema(MeasurementSettings)["$defs"]["MeasurementSettings"]
    for key, value in definition["properties"].items():
        value["description"] = with_unit(key, meanings.get(key, ""))
    return {"default": {}, "properties": definition["properties"], "additionalProperties": False}
