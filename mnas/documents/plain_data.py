"""Rules for plain data, whatever type it is meant for.

Numbers are decimal, finite and of at most 64 bits; text can be written as UTF-8.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnas.documents.errors import DocumentError

Step = str | int
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class NotDecimal:
    """A number of a document that is not written in decimal digits.

    Attributes:
        text: The number as the document has it, such as `010` or `1:30`.
    """

    text: str


def check_plain_data(data: object, source: str) -> None:
    """Refuse the first number or text that no document can have, keys of mappings included.

    >>> check_plain_data({"search": {"child_timeout_s": math.inf}}, "search.yaml")
    Traceback (most recent call last):
    mnas.documents.errors.DocumentError: search.yaml: 'search.child_timeout_s' is inf; write a finite number

    Args:
        data: Text, numbers, lists and mappings.
        source: Name of the document, for the message.

    Raises:
        DocumentError: A number is infinite, no number, larger than 64 bits, or not written in decimal digits; or a
            text is no UTF-8.
    """
    # Records with every timed run are read again and again: the place of a value is looked up only to refuse it.
    if not _is_plain(data):
        _check_each(data, source, ())


def _is_plain(data: Any) -> bool:
    """Return whether all of `data` is of JSON's types and allowed; `_check_each` decides about the rest."""
    kind = type(data)
    if kind is float:
        return math.isfinite(data)
    if kind is str:
        return data.isascii() or not _HALF_A_CHARACTER.search(data)
    if kind is int:
        return bool(abs(data) <= LARGEST_INTEGER)
    if kind is dict:
        return all(map(_is_plain, data)) and all(map(_is_plain, data.values()))
    if kind is list or kind is tuple:
        kinds = set(map(type, data))
        # Times of runs: the sum is finite only if every number is. A sum that overflows is looked at one by one.
        if kinds == {float} and math.isfinite(sum(data)):
            return True
        if kinds == {int}:
            return bool(min(data) >= -LARGEST_INTEGER and max(data) <= LARGEST_INTEGER)
        if kinds == {str} and "".join(data).isascii():
            return True
        return all(map(_is_plain, data))
    return kind is bool or data is None


def _check_each(data: object, source: str, steps: tuple[Step, ...]) -> None:
    if isinstance(data, Mapping):
        for key, item in data.items():
            _check(key, source, steps, "has a key that")
            _check_each(item, source, (*steps, str(key)))
    elif isinstance(data, list | tuple | set | frozenset):
        for index, item in enumerate(data):
            _check_each(item, source, (*steps, index))
    else:
        _check(data, source, steps)


def _check(value: object, source: str, steps: tuple[Step, ...], prefix: str = "") -> None:
    problem = ""
    if isinstance(value, NotDecimal):
        problem = f"is written {value.text[:60]}; write a number in decimal digits, or quote it if it is text"
    elif isinstance(value, float) and not math.isfinite(value):
        problem = f"is {value}; write a finite number"
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        problem = "is a number of more than 64 bits; write a smaller one, or quote it if it is text"
    elif isinstance(value, str) and _HALF_A_CHARACTER.search(value):
        problem = "holds half of a character (a surrogate), which is no UTF-8; remove it"
    if problem:
        where = quoted(steps) or "the document"
        raise DocumentError(f"{source}: {where} {f'{prefix} ' if prefix else ''}{problem}")


def quoted(steps: tuple[Step, ...]) -> str:
    """Return the path of a place, such as 'blocks[2].kernel'; an empty text for the document itself."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    return f"'{text}'" if text else ""
