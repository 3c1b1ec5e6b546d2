"""Hyper-parameters: documented, bounded fields of frozen dataclasses.

A strategy declares each one with `integer`, `number`, `switch` or `choice` as the field's default.
`build_hyperparameters` checks what a user wrote and makes the dataclass; `describe_hyperparameters` lists the fields
for people.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from controllers.controller import ControllerError
from mnas.documents.names import did_you_mean

Hyperparameters = TypeVar("Hyperparameters")


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """The description of one hyper-parameter."""

    name: str
    default: bool | int | float | str
    doc: str
    allowed: str


def integer(default: int, doc: str, *, low: int, high: int) -> int:
    """Declare an integer field in [low, high]."""
    field: int = dataclasses.field(
        default=default,
        metadata={"doc": doc, "allowed": f"an integer from {low} to {high}", "low": low, "high": high},
    )
    return field


def number(default: float, doc: str, *, low: float, high: float) -> float:
    """Declare a float field in [low, high]."""
    field: float = dataclasses.field(
        default=default,
        metadata={"doc": doc, "allowed": f"a number from {low:g} to {high:g}", "low": low, "high": high},
    )
    return field


def switch(default: bool, doc: str) -> bool:
    """Declare a field that is true or false."""
    field: bool = dataclasses.field(default=default, metadata={"doc": doc, "allowed": "true or false"})
    return field


def choice(default: str, doc: str, *, options: tuple[str, ...]) -> str:
    """Declare a field that is one of `options`."""
    field: str = dataclasses.field(
        default=default, metadata={"doc": doc, "allowed": " or ".join(options), "options": options}
    )
    return field


def build_hyperparameters(
    strategy: str, cls: type[Hyperparameters], values: Mapping[str, object], also_allowed: Iterable[str] = ()
) -> Hyperparameters:
    """Return the hyper-parameters of `cls` with `values` in place of defaults.

    Args:
        strategy: Name of the strategy, for error messages.
        cls: Dataclass of the hyper-parameters.
        values: Hyper-parameters by name.
        also_allowed: Other names that the strategy accepts, for error messages.

    Raises:
        ControllerError: A name is unknown, or a value has the wrong type or is out of range.
    """
    fields = {field.name: field for field in _fields(cls)}
    for name in values:
        if name not in fields:
            known = [*also_allowed, *fields]
            allowed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ControllerError(
                f"controller {strategy!r} has no hyper-parameter {name!r}{did_you_mean(name, known)}; {allowed}"
            )
    return cls(**{name: _checked(strategy, fields[name], value) for name, value in values.items()})


def describe_hyperparameters(cls: type[Any]) -> tuple[Hyperparameter, ...]:
    """Return the descriptions of the hyper-parameters that a dataclass declares."""
    described = []
    for field in _fields(cls):
        default: Any = field.default
        described.append(Hyperparameter(field.name, default, field.metadata["doc"], field.metadata["allowed"]))
    return tuple(described)


def _checked(strategy: str, field: dataclasses.Field[Any], value: object) -> bool | int | float | str:
    if isinstance(field.default, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(field.default, str):
        if isinstance(value, str) and value in field.metadata["options"]:
            return value
    elif not isinstance(value, bool) and isinstance(value, numbers.Real):
        in_range = field.metadata["low"] <= value <= field.metadata["high"]
        if in_range and isinstance(field.default, float):
            return float(value)
        if in_range and isinstance(value, numbers.Integral):
            return int(value)
    hint = ""
    if isinstance(value, str) and isinstance(field.default, float) and _is_number(value):
        hint = f"; {value!r} is text. PyYAML reads a number such as 1e-3 as text: write 1.0e-3"
    raise ControllerError(
        f"{field.name} of controller {strategy!r} is {value!r}; it must be {field.metadata['allowed']}{hint}"
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _fields(cls: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)
