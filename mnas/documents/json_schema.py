"""The JSON Schema of a document, for editors: msgspec's, with what each key means."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as types

_SECTION = re.compile(r"^[A-Z][A-Za-z]+:$", re.MULTILINE)
_ATTRIBUTES = re.compile(r"^Attributes:\n(?P<items>(?:[ ]+.*\n?|\n)+)", re.MULTILINE)
_ITEM = re.compile(r"^ {4}(?P<names>\w+(?:, \w+)*): (?P<text>.*(?:\n {5,}.*)*)", re.MULTILINE)


def json_schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema of what `mnas.documents.yaml_file.read` takes for a struct.

    The description of a key is that of the `Attributes:` section of its struct's docstring, or of a base class of it.

    >>> class Training(msgspec.Struct):
    ...     '''How to train.
    ...
    ...     Attributes:
    ...         epochs: Passes through the images.
    ...     '''
    ...
    ...     epochs: int
    >>> json_schema(Training)["$defs"]["Training"]["properties"]
    {'epochs': {'type': 'integer', 'description': 'Passes through the images.'}}
    """
    schema: dict[str, Any] = msgspec.json.schema(struct)
    for each in set(_structs(types.type_info(struct))):
        definition = schema["$defs"][each.__name__]
        definition["description"] = _summary(each)
        for key, meaning in _meanings(each).items():
            if key in definition["properties"]:
                definition["properties"][key]["description"] = meaning
    return schema


def _structs(kind: types.Type) -> Iterator[type]:
    match kind:
        case types.StructType():
            yield kind.cls
            for field in kind.fields:
                yield from _structs(field.type)
        case types.UnionType():
            for each in kind.types:
                yield from _structs(each)
        case types.DictType():
            yield from _structs(kind.value_type)
        case types.ListType() | types.VarTupleType():
            yield from _structs(kind.item_type)


def _summary(struct: type) -> str:
    doc = inspect.getdoc(struct) or ""
    return " ".join(_SECTION.split(doc)[0].split())


def _meanings(struct: type) -> dict[str, str]:
    """Return what each key means; a base class is asked first, so that a class can say it better."""
    found: dict[str, str] = {}
    for cls in reversed(struct.__mro__):
        section = _ATTRIBUTES.search(inspect.cleandoc(cls.__doc__ or ""))
        for item in _ITEM.finditer(section["items"] if section else ""):
            found |= dict.fromkeys(item["names"].split(", "), " ".join(item["text"].split()))
    return found
