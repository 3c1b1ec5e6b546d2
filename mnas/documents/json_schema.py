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
    for each in _all_structs(inspect.type_info(struct)).values():
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


def structs_in(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """Yield the structs that a value of a type can hold, without those in their fields."""
    match kind:
        case inspect.StructType():
            yield kind
        case inspect.UnionType():
            for member in kind.types:
                yield from structs_in(member)
        case inspect.DictType():
            yield from structs_in(kind.value_type)
        case inspect.VarTupleType() | inspect.ListType():
            yield from structs_in(kind.item_type)
        case inspect.Metadata():
            yield from structs_in(kind.type)


def _all_structs(kind: inspect.Type) -> dict[type, inspect.StructType]:
    """Return every struct that a document can hold, by class."""
    found: dict[type, inspect.StructType] = {}
    for struct in structs_in(kind):
        found[struct.cls] = struct
        for field in struct.fields:
            found |= _all_structs(field.type)
    return found
