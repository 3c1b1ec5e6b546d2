"""Convert plain data (from YAML or JSON) to a declared type, with error messages that a user can act on.

msgspec checks the data. Its messages say where a value does not fit, but neither what was found nor which keys exist.
After a document has been refused, this module takes that from the data and the type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from mnas.documents.errors import DocumentError
from mnas.documents.names import did_you_mean
from mnas.documents.plain_data import Step, check_plain_data, quoted

_T = TypeVar("_T")
Record = inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType
_LIST_TYPES = (inspect.ListType, inspect.VarTupleType, inspect.TupleType, inspect.SetType, inspect.FrozenSetType)
_RECORD_TYPES = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType, inspect.NamedTupleType)
_PLACE = re.compile(r" - at (?P<key>`key` in )?`(?P<path>\$[^`]*)`$")
_PATH_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_NAMED_FIELD = re.compile(r"Object (?P<problem>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_SHOWN_CHARACTERS = 60


def convert(data: object, type: type[_T], *, source: str) -> _T:
    """Return plain data as an instance of `type`.

    >>> class Training(msgspec.Struct, forbid_unknown_fields=True):
    ...     epochs: int
    >>> convert({"epochs": 5}, Training, source="search.yaml")
    Training(epochs=5)
    >>> convert({"epochs": "five"}, Training, source="search.yaml")
    Traceback (most recent call last):
    mnas.documents.errors.DocumentError: search.yaml: 'epochs' is 'five'; allowed: an integer

    Args:
        data: The plain data.
        type: A msgspec struct or anything else that msgspec can check.
        source: Name of the document, for error messages.

    Raises:
        DocumentError: The data does not fit, or has a number that no setting can have (see `plain_data`); the message
            is about the first value that does not fit.
    """
    try:
        check_plain_data(data, source)
        return msgspec.convert(data, type=type)
    except msgspec.ValidationError as error:
        raise DocumentError(f"{source}: {_explain(error, data, type)}") from error
    except RecursionError as error:
        raise DocumentError(f"{source}: the document is nested too deeply, or contains itself by an alias") from error


class _Spot(NamedTuple):
    """A place in a document: its path, its value and the type that it must have."""

    steps: tuple[Step, ...]
    value: Any
    type: inspect.Type


def _explain(error: msgspec.ValidationError, data: object, type: type[Any]) -> str:
    text = str(error)
    place = _PLACE.search(text)
    problem = text[: place.start()] if place else text
    spot = _locate(place["path"] if place else "$", text, data, type)
    if error.__cause__ is not None:  # a rule of the type itself, raised by its __post_init__
        cause = str(error.__cause__)
        return f"{quoted(spot.steps)}: {cause}" if spot.steps else cause
    if place and place["key"]:
        return _explain_key(spot)
    if field := _NAMED_FIELD.fullmatch(problem):
        record, name = _record(spot), field["name"]
        if field["problem"] == "contains unknown":
            keys = _keys(record)
            guess = did_you_mean(name, keys)
            return f"unknown key {quoted((*spot.steps, name))}{guess}; allowed keys: {', '.join(keys)}"
        return f"key {quoted((*spot.steps, name))} is missing; it takes {_describe(_field_type(record, name, spot))}"
    where = quoted(spot.steps) or "the document"
    return f"{where} is {_shown(spot.value)}{_guess(spot)}; allowed: {_describe(spot.type)}"


def _explain_key(spot: _Spot) -> str:
    where = quoted(spot.steps) or "the document"
    member = _member(spot.type, spot.value)
    allowed = _describe(member.key_type) if isinstance(member, inspect.DictType) else "text"
    # The usual mistake is a whole number or a date as a key: `1:` instead of `"1":`.
    keys = [key for key in spot.value if not isinstance(key, str)]
    found = f"has the key {_shown(keys[0])}" if keys else "has a key that is not allowed"
    return f"{where} {found}; keys must be {allowed}"


def _guess(spot: _Spot) -> str:
    words = [choice for choice in _literals(spot.type) if isinstance(choice, str)]
    return did_you_mean(spot.value, words) if isinstance(spot.value, str) else ""


def _locate(path: str, message: str, document: object, type: type[Any]) -> _Spot:
    """Follow msgspec's path through the document and through its type."""
    spot = _Spot((), document, inspect.type_info(type))
    for step in _PATH_STEP.finditer(path):
        container = _member(spot.type, spot.value)
        key: Step
        if step["any"]:
            key = _failing_key(spot, message, document, type)
        else:
            key = step["name"] if step["index"] is None else int(step["index"])
        value = spot.value[key] if _has(spot.value, key) else None
        spot = _Spot((*spot.steps, key), value, _child_type(container, key))
    return spot


def _failing_key(spot: _Spot, message: str, document: object, type: type[Any]) -> str:
    # msgspec does not say which entry of a mapping it refused: convert one entry at a time to find it.
    for key, value in spot.value.items():
        try:
            msgspec.convert(_replaced(document, spot.steps, {key: value}), type=type)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(key)
    return "..."


def _replaced(document: object, steps: tuple[Step, ...], value: object) -> object:
    """Return a copy of the document with `value` at the end of `steps`."""
    if not steps:
        return value
    if isinstance(document, Mapping):
        return {**document, steps[0]: _replaced(document[steps[0]], steps[1:], value)}
    assert isinstance(document, list | tuple)
    return [_replaced(item, steps[1:], value) if index == steps[0] else item for index, item in enumerate(document)]


def _has(value: object, key: Step) -> bool:
    if isinstance(value, Mapping):
        return key in value
    return isinstance(value, list | tuple) and isinstance(key, int) and key < len(value)


def _bare(type: inspect.Type) -> inspect.Type:
    return _bare(type.type) if isinstance(type, inspect.Metadata) else type


def _members(type: inspect.Type) -> Iterator[inspect.Type]:
    type = _bare(type)
    if isinstance(type, inspect.UnionType):
        for member in type.types:
            yield from _members(member)
    else:
        yield type


def _member(type: inspect.Type, value: object) -> inspect.Type:
    """Return the member of a union that `value` was meant for; another type is returned as it is."""
    members = list(_members(type))
    if isinstance(value, Mapping):
        records = [member for member in members if isinstance(member, _RECORD_TYPES)]
        tagged = [r for r in records if isinstance(r, inspect.StructType) and r.tag_field is not None]
        for member in tagged:
            if value.get(member.tag_field) == member.tag:
                return member
        fitting: list[inspect.Type] = [*records, *(m for m in members if isinstance(m, inspect.DictType))]
    else:
        fitting = [member for member in members if isinstance(member, _LIST_TYPES)]
    return fitting[0] if len(fitting) == 1 else _bare(type)


def _child_type(container: inspect.Type, key: Step) -> inspect.Type:
    if isinstance(container, inspect.DictType):
        return container.value_type
    if isinstance(container, inspect.TupleType) and isinstance(key, int) and key < len(container.item_types):
        return container.item_types[key]
    if isinstance(container, inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.FrozenSetType):
        return container.item_type
    if isinstance(container, _RECORD_TYPES):
        for field in container.fields:
            if field.encode_name == key:
                return field.type
    tags = tuple(m.tag for m in _members(container) if isinstance(m, inspect.StructType) and m.tag_field == key)
    return inspect.LiteralType(tuple(tag for tag in tags if tag is not None)) if tags else inspect.AnyType()


def _record(spot: _Spot) -> inspect.Type:
    return _member(spot.type, spot.value)


def _field_type(record: inspect.Type, name: str, spot: _Spot) -> inspect.Type:
    return _child_type(record if isinstance(record, _RECORD_TYPES) else _bare(spot.type), name)


def _keys(record: inspect.Type) -> list[str]:
    if not isinstance(record, _RECORD_TYPES):
        return []
    tag = [record.tag_field] if isinstance(record, inspect.StructType) and record.tag_field else []
    return tag + [field.encode_name for field in record.fields]


def _literals(type: inspect.Type) -> list[object]:
    values: list[object] = []
    for member in _members(type):
        if isinstance(member, inspect.LiteralType):
            values += member.values
        elif isinstance(member, inspect.EnumType):
            values += [item.value for item in member.cls]
    return values


def _describe(type: inspect.Type) -> str:
    """Describe in words the values that a type allows."""
    type = _bare(type)
    match type:
        case inspect.IntType():
            return "an integer" + _bounds(type)
        case inspect.FloatType():
            return "a number" + _bounds(type)
        case inspect.StrType():
            pattern = f" that matches {type.pattern}" if type.pattern else ""
            return "text" + pattern + _lengths(type.min_length, type.max_length, "characters")
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "null"
        case inspect.LiteralType() | inspect.EnumType():
            return ", ".join(_shown(value) for value in _literals(type))
        case inspect.TupleType():
            return f"a list of exactly {len(type.item_types)} entries: {', '.join(map(_describe, type.item_types))}"
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            lengths = _lengths(type.min_length, type.max_length, "entries")
            return f"a list{lengths}, each {_describe(type.item_type)}"
        case inspect.DictType():
            return f"a mapping from {_describe(type.key_type)} to {_describe(type.value_type)}"
        case inspect.UnionType():
            return " or ".join(_describe(member) for member in type.types)
        case inspect.AnyType():
            return "any value"
        case _ if isinstance(type, _RECORD_TYPES):
            return f"a mapping with the keys {', '.join(_keys(type))}"
        case _:
            return re.sub(r"Type$", "", type.__class__.__name__).lower()


def _bounds(type: inspect.IntType | inspect.FloatType) -> str:
    limits = ((">=", type.ge), (">", type.gt), ("<=", type.le), ("<", type.lt))
    words = [f"{sign} {limit:g}" for sign, limit in limits if limit is not None]
    return " " + " and ".join(words) if words else ""


def _lengths(least: int | None, most: int | None, unit: str) -> str:
    limits = (("at least", least), ("at most", most))
    words = [f"{bound} {limit}" for bound, limit in limits if limit is not None]
    return f" ({unit}: {' and '.join(words)})" if words else ""


def _shown(value: object) -> str:
    """Return a value as a document has it, shortened; for a container its kind."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = repr(value) if isinstance(value, str | int | float) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
