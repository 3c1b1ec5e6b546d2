"""JSON of files, stores and phones: read with bounds, and written so that every reader can read it."""

from __future__ import annotations

import json
import math

import msgspec

from mnas.documents.errors import DocumentError
from mnas.documents.plain_data import check_plain_data


def parse_json(text: str | bytes, *, source: str, without_infinite: bool = False) -> object:
    """Return JSON text as plain data.

    Args:
        text: The JSON text.
        source: Where it comes from, for error messages.
        without_infinite: Read NaN and Infinity as None instead of refusing them: text of mnas up to 0.2 may have them.

    Raises:
        DocumentError: The text is not JSON, is nested too deeply, or has a number that is not finite or too large.
    """
    try:
        data = _decode(text, without_infinite=without_infinite)
    except RecursionError as error:
        raise DocumentError(f"{source}: the JSON is nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise DocumentError(f"{source}: not JSON ({error})") from error
    try:
        check_plain_data(data, source)
    except RecursionError as error:
        raise DocumentError(f"{source}: the JSON is nested too deeply") from error
    return data


def dump_json(value: object) -> str:
    """Return plain data as JSON text; NaN and infinite numbers, which JSON does not have, become null.

    Floats are written by repr, which reads back to the same bits.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _decode(text: str | bytes, *, without_infinite: bool) -> object:
    try:
        return msgspec.json.decode(text)  # much the faster
    except (msgspec.DecodeError, ValueError, TypeError):
        # It refuses NaN, huge numbers and halves of characters; what is wrong with them is said by those who read on.
        return json.loads(text, parse_constant=_none if without_infinite else float)


def _none(name: str) -> None:
    del name


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
