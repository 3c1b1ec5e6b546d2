"""The JSON Schema of a document, for editors: msgspec's, with what each key means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from mnas.documents.meanings import meanings_of, summary, with_unit

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema of what `mnas.documents.yaml_file.read` takes for a struct.

    The description of a key is what the docstring of its struct, or of a base class of it, says about the field.

    >>> class Training(msgspec.Struct):
    ...     '''How to train.
    ...
    ...     Attributes:
    ...         warmup_s: Time before the first step.
    ...     '''
    ...
    ...     warmup_s: int
    >>> json_schema(Training)["$defs"]["Training"]["properties"]
    {'warmup_s': {'type': 'integer', 'description': 'Time before the first step. Unit: seconds.'}}
    """
    schema: dict[str, Any] = {"$schema": DRAFT, **msgspec.json.schema(struct)}
    for each in {found.cls: found for found in _structs(inspect.type_info(struct))}.values():
        definition = schema["$defs"][each.cls.__name__]
        definition["description"] = " ".join(summary(each.cls).split())
        describe_keys(definition, each.cls)
        if each.tag_field is not None:
            definition["properties"][each.tag_field]["description"] = f"Chooses this form: {each.tag}."
    return schema


def describe_keys(definition: dict[str, Any], cls: type) -> None:
    """Add to the JSON Schema of a struct or dataclass what its keys mean."""
    meanings = meanings_of(cls)
    for key, value in definition["properties"].items():
        if key in meanings:
            value["description"] = with_unit(key, meanings[key])


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
