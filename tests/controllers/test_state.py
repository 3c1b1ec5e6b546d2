from __future__ import annotations

import io
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from controllers import ControllerError, StateValue, state_from_bytes, state_to_bytes

numeric_types = st.one_of(
    stnp.boolean_dtypes(),
    stnp.integer_dtypes(),
    stnp.unsigned_integer_dtypes(),
    stnp.floating_dtypes(sizes=[32, 64]),
)
values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    stnp.arrays(numeric_types, stnp.array_shapes(min_side=0)),
)
states = st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True), values, max_size=5)


def identical(one: StateValue, other: StateValue) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            isinstance(one, np.ndarray)
            and isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    return type(one) is type(other) and (one == other or (one != one and other != other))


@settings(deadline=None)
@given(state=states)
def test_a_state_survives_the_round_trip_with_its_types(state: dict[str, StateValue]) -> None:
    restored = state_from_bytes(state_to_bytes(state))
    assert restored.keys() == state.keys()
    assert all(identical(restored[key], state[key]) for key in state)


@settings(deadline=None)
@given(state=states)
def test_equal_states_give_equal_bytes_whatever_their_order(state: dict[str, StateValue]) -> None:
    assert state_to_bytes(dict(reversed(state.items()))) == state_to_bytes(state)


def test_memory_order_does_not_change_the_bytes() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert state_to_bytes({"a": np.asfortranarray(array)}) == state_to_bytes({"a": array})


def test_the_bytes_are_a_npz_archive_without_pickle() -> None:
    with np.load(io.BytesIO(state_to_bytes({"count": 3, "name": "x"})), allow_pickle=False) as archive:
        assert archive["count"] == 3
        assert archive["name"] == "x"


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, 2],
        2**63,
        1j,
        "nul\0",
        np.array(1.0),
        np.array(["text"]),
        np.array([None]),
        {"nested": 1},
    ],
    ids=repr,
)
def test_a_value_of_another_kind_is_refused_by_name(value: object) -> None:
    with pytest.raises(ControllerError, match="'entry'"):
        state_to_bytes({"entry": cast(StateValue, value)})


def test_a_key_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(ControllerError, match="'a/b'"):
        state_to_bytes({"a/b": 1})


@settings(deadline=None)
@given(data=st.binary(max_size=64))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ControllerError, match="not a controller state"):
        state_from_bytes(data)


@settings(deadline=None)
@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_damaged_byte_is_refused(position: int, flip: int) -> None:
    data = bytearray(state_to_bytes({"a": np.arange(5.0), "b": "text", "c": 1}))
    data[position % len(data)] ^= flip
    with pytest.raises(ControllerError, match="damaged"):
        state_from_bytes(bytes(data))


def test_a_truncated_state_is_refused() -> None:
    data = state_to_bytes({"a": np.arange(5.0)})
    with pytest.raises(ControllerError, match="damaged"):
        state_from_bytes(data[:-1])
