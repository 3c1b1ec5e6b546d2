from __future__ import annotations

import pickle

import pytest

from latency.errors import (
    CandidateError,
    LatencyError,
    PhoneError,
    PhoneGoneError,
    PhoneTimeoutError,
    PhoneUnknownError,
    PhoneUnstableError,
    ProfileError,
    ToolError,
)
from latency.measurement.record import LatencyRecord
from mnas.documents.errors import InputError

ERRORS = [
    CandidateError("model_rejected", "no such operator", "run"),
    PhoneError("phone_busy", "another process has it"),
    PhoneUnknownError("no phone is called so"),
    ProfileError("no such key"),
    PhoneGoneError("unplugged"),
    PhoneTimeoutError("slow"),
    PhoneUnstableError("noisy"),
    ToolError("internal", "a bug"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_a_trip_to_another_process(error: LatencyError) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def test_the_record_of_an_unsteady_phone_travels_along(rejected_record: LatencyRecord) -> None:
    assert pickle.loads(pickle.dumps(PhoneUnstableError("noisy", rejected_record))).record == rejected_record


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_another_message_changes_nothing_else(error: LatencyError) -> None:
    said = error.with_message("something else")
    assert (type(said), str(said), said.kind) == (type(error), "something else", error.kind)


@pytest.mark.parametrize("error", [PhoneUnknownError("no phone is called so"), ProfileError("no such key")])
def test_what_the_user_wrote_about_phones_is_an_input_error(error: PhoneError) -> None:
    assert isinstance(error, InputError)
