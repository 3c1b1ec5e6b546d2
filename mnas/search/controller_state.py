"""A controller's state in a store: only what has changed since the last state is written.

A state is a flat dict of numbers, texts and arrays (`controllers.state`). A value that is as it was is not written
again. Of an array that has grown by further rows, such as the proposals that were made, only these rows are. So a step
of the search costs what the step has changed, however long the search is.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.controller import StateValue
from controllers.state import arrays_of_state, state_of_arrays
from mnas.documents.check import convert
from mnas.documents.errors import DocumentError
from mnas.documents.json_text import parse_json

_TYPE = re.compile(r"[<>|][biufU][0-9]{1,9}")


@dataclass(frozen=True)
class StatePart:
    """Rows of one value of a state.

    Attributes:
        key: The name of the value.
        part: 0 replaces what is stored of the value; a larger one adds rows to an array.
        type: The type of the array as NumPy writes it.
        shape: Its shape as a JSON list; that of a single value is `[]`.
        value: Its bytes in C order.
        checksum: CRC-32 of the bytes.
    """

    key: str
    part: int
    type: str
    shape: str
    value: bytes
    checksum: int


class StateRecorder:
    """Compares each state with the one before."""

    def __init__(self) -> None:
        self._last: dict[str, NDArray[Any]] | None = None
        self._parts: dict[str, int] = {}

    def forget(self) -> None:
        """Take the next state for the first: what the file holds is not known."""
        self._last, self._parts = None, {}

    def changes(self, state: Mapping[str, StateValue]) -> tuple[list[str] | None, list[StatePart]]:
        """Return which keys to delete (None: all) and which parts to write, in this order.

        Raises:
            ControllerError: The state holds something that a state cannot hold.
        """
        arrays = arrays_of_state(state)
        if self._last is None:
            deleted, last = None, {}
        else:
            deleted, last = [key for key in self._last if key not in arrays], self._last
        parts = []
        for key, array in arrays.items():
            before = last.get(key)
            if before is not None and _same(before, array):
                continue
            if before is not None and _extends(before, array):
                self._parts[key] += 1
                parts.append(_part(key, self._parts[key], array[len(before) :]))
            else:
                self._parts[key] = 0
                parts.append(_part(key, 0, array))
        self._last = arrays
        return deleted, parts


def state_of_parts(parts: Iterable[StatePart], source: str) -> dict[str, StateValue]:
    """Return the state whose parts these are, in order of key and part.

    Raises:
        DocumentError: A part is damaged or missing.
    """
    rows: dict[str, list[NDArray[Any]]] = {}
    for part in parts:
        where = f"{source}: {part.key}, part {part.part}"
        known = rows.setdefault(part.key, [])
        if part.part != len(known):
            raise DocumentError(f"{where}: part {len(known)} is missing before it")
        known.append(_array(part, where))
    try:
        return state_of_arrays(
            {key: arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for key, arrays in rows.items()}
        )
    except (ValueError, TypeError) as error:
        raise DocumentError(f"{source}: its parts do not fit together ({error})") from error


def _array(part: StatePart, where: str) -> NDArray[Any]:
    if zlib.crc32(part.value) != part.checksum:
        raise DocumentError(f"{where}: its bytes are not those that were written")
    if not _TYPE.fullmatch(part.type):
        raise DocumentError(f"{where}: has the type {part.type[:20]!r}, which no value of a state has")
    shape = convert(parse_json(part.shape, source=where), tuple[int, ...], source=where)
    try:
        return np.frombuffer(part.value, np.dtype(part.type)).reshape(shape).copy()
    except (ValueError, TypeError, OverflowError) as error:
        raise DocumentError(f"{where}: is no array ({error})") from error


def _part(key: str, number: int, array: NDArray[Any]) -> StatePart:
    value = array.tobytes()
    return StatePart(key, number, array.dtype.str, json.dumps(array.shape), value, zlib.crc32(value))


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _extends(before: NDArray[Any], now: NDArray[Any]) -> bool:
    """Return whether `now` is `before` and further rows."""
    return (
        before.dtype == now.dtype
        and before.ndim >= 1
        and before.shape[1:] == now.shape[1:]
        and 0 < len(before) < len(now)
        and before.tobytes() == now[: len(before)].tobytes()
    )
