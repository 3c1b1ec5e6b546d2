"""Controller states as bytes, and the parts of a state that all strategies share.

A state is a flat dict of numbers, strings and numeric arrays. Its bytes are an uncompressed `.npz` archive
without pickle, which `numpy.load` opens. Equal states give equal bytes: entries are sorted and have a fixed
time stamp. The archive's comment is the SHA-256 of all bytes before it, so that damage is found before anything
is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.controller import ControllerError, Decisions, StateValue

STATE_FORMAT = 1
"""Version of a state's layout; a state of another version is refused."""

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZIP_SYSTEM_UNIX = 3
_DIGEST_LENGTH = 64


def state_to_bytes(state: Mapping[str, StateValue]) -> bytes:
    """Return a controller's state as bytes; equal states give equal bytes.

    Raises:
        ControllerError: A key is not an identifier, or a value is not a bool, int of 64 bits, float, string or
            numeric array of one dimension or more.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays_of_state(state).items():
            entry = zipfile.ZipInfo(f"{key}.npy", _ZIP_EPOCH)
            entry.create_system = _ZIP_SYSTEM_UNIX
            array_file = io.BytesIO()
            np.save(array_file, array, allow_pickle=False)
            archive.writestr(entry, array_file.getvalue())
        archive.comment = bytes(_DIGEST_LENGTH)
    content = buffer.getvalue()[:-_DIGEST_LENGTH]
    return content + _digest(content)


def state_from_bytes(data: bytes) -> dict[str, StateValue]:
    """Return the state that `state_to_bytes` wrote.

    Raises:
        ControllerError: The bytes are damaged or not a state.
    """
    if data[-_DIGEST_LENGTH:] != _digest(data[:-_DIGEST_LENGTH]):
        raise ControllerError(
            f"these {len(data)} bytes are damaged, or not a controller state as written by state_to_bytes"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return state_of_arrays({key: archive[key] for key in archive.files})


def arrays_of_state(state: Mapping[str, StateValue]) -> dict[str, NDArray[Any]]:
    """Return the values of a state as arrays, sorted by key; a single value is an array of no dimension.

    Raises:
        ControllerError: As `state_to_bytes`.
    """
    return {key: _to_array(key, state[key]) for key in sorted(state)}


def state_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, StateValue]:
    """Return the state whose `arrays_of_state` these are."""
    return {key: array if array.ndim else array.item() for key, array in arrays.items()}


def _to_array(key: str, value: StateValue) -> NDArray[Any]:
    if not key.isidentifier():
        raise ControllerError(f"state key {key!r} is not an identifier")
    if isinstance(value, np.ndarray):
        if value.ndim == 0 or value.dtype.kind not in "biuf":
            raise ControllerError(
                f"state value {key!r} is an array of shape {value.shape} and type {value.dtype}; "
                "it must hold numbers and have one dimension or more"
            )
        return np.asarray(value, order="C")
    if isinstance(value, str) and value.endswith("\0"):
        raise ControllerError(f"state value {key!r} ends in a NUL character, which NumPy strings cannot store")
    if not isinstance(value, bool | int | float | str):
        raise ControllerError(f"state value {key!r} is a {type(value).__name__}; use a bool, int, float, str or array")
    array = np.array(value)
    if array.dtype.kind == "O" or array.dtype == np.uint64:
        raise ControllerError(f"state value {key!r} is {value!r}; an int must fit in 64 bits with sign")
    return array


def identity_entries(
    strategy: str, decision_sizes: tuple[int, ...], hyperparameters: Mapping[str, bool | int | float | str]
) -> dict[str, StateValue]:
    """Return the entries that tell which controllers a state fits."""
    return {
        "format": STATE_FORMAT,
        "strategy": strategy,
        "decision_sizes": np.array(decision_sizes, dtype=np.int64),
        **{f"hyperparameter_{name}": value for name, value in hyperparameters.items()},
    }


def check_identity(state: Mapping[str, StateValue], expected: Mapping[str, StateValue]) -> None:
    """Check that a state fits the controller whose `identity_entries` are `expected`.

    Raises:
        ControllerError: A value differs; the message names the first one.
    """
    for key in expected:
        theirs, ours = _plain(read_value(state, key)), _plain(expected[key])
        if theirs != ours:
            raise ControllerError(
                f"the state has {key} {theirs}, this controller has {ours}; "
                "restore it into a controller created with the same arguments"
            )


def generator_entry(generator: np.random.Generator) -> str:
    """Return the state of a PCG64 generator as a JSON string."""
    return json.dumps(generator.bit_generator.state, sort_keys=True)


def read_generator(state: Mapping[str, StateValue], key: str) -> np.random.Generator:
    """Return a new generator that continues the one stored under `key`.

    Raises:
        ControllerError: The entry is missing or damaged.
    """
    bit_generator = np.random.PCG64(0)
    try:
        bit_generator.state = json.loads(str(read_value(state, key)))
    except (ValueError, TypeError, KeyError) as error:
        raise ControllerError(f"state value {key!r} is not the state of a PCG64 generator ({error})") from error
    return np.random.Generator(bit_generator)


def read_value(state: Mapping[str, StateValue], key: str) -> StateValue:
    """Return one value of a state.

    Raises:
        ControllerError: It is missing.
    """
    if key not in state:
        raise ControllerError(f"the state has no value {key!r}; it is damaged or was written by another version")
    return state[key]


def read_count(state: Mapping[str, StateValue], key: str) -> int:
    """Return one integer >= 0 of a state.

    Raises:
        ControllerError: It is missing or something else.
    """
    value = read_value(state, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ControllerError(f"state value {key!r} is {value!r}; expected an integer >= 0")
    return value


def read_float(state: Mapping[str, StateValue], key: str) -> float:
    """Return one finite float of a state.

    Raises:
        ControllerError: It is missing or something else.
    """
    value = read_value(state, key)
    if not isinstance(value, float) or not np.isfinite(value):
        raise ControllerError(f"state value {key!r} is {value!r}; expected a finite float")
    return value


def read_floats(state: Mapping[str, StateValue], key: str, length: int) -> NDArray[np.float64]:
    """Return a copy of one array of `length` finite floats of a state.

    Raises:
        ControllerError: It is missing or something else.
    """
    value = read_value(state, key)
    if not isinstance(value, np.ndarray) or value.dtype != np.float64 or value.shape != (length,):
        raise ControllerError(f"state value {key!r} is not an array of {length} float64")
    if not np.isfinite(value).all():
        raise ControllerError(f"state value {key!r} holds values that are not finite")
    return value.copy()


def index_type(decision_sizes: tuple[int, ...]) -> np.dtype[Any]:
    """Return the smallest unsigned type that holds every index."""
    return np.min_scalar_type(max(decision_sizes) - 1)


def decisions_entry(decision_sizes: tuple[int, ...], proposals: list[Decisions]) -> NDArray[Any]:
    """Return proposals as an array of shape (proposals, decisions)."""
    return np.array(proposals, dtype=index_type(decision_sizes)).reshape(-1, len(decision_sizes))


def read_decisions(state: Mapping[str, StateValue], key: str, decision_sizes: tuple[int, ...]) -> list[Decisions]:
    """Return the proposals of an array of shape (proposals, decisions).

    Raises:
        ControllerError: It is missing, has another shape or type, or an index is out of range.
    """
    value = read_value(state, key)
    if (
        not isinstance(value, np.ndarray)
        or value.dtype != index_type(decision_sizes)
        or value.shape[1:] != (len(decision_sizes),)
        or (value >= np.array(decision_sizes)).any()
    ):
        raise ControllerError(f"state value {key!r} does not hold proposals of these decisions")
    return [tuple(row) for row in value.tolist()]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode("ascii")


def _plain(value: StateValue) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value
