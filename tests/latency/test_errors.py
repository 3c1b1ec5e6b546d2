from __future__ import annotations

import copy

from latency.errors import CandidateError, PhoneError
from latency.measurement.record import LatencyRecord


def test_a_copied_candidate_error_keeps_kind_and_stage() -> None:
    error = copy.copy(CandidateError("model_rejected", "no such operator", "run"))
    assert (error.kind, str(error), error.stage) == ("model_rejected", "no such operator", "run")


def test_a_copied_phone_error_keeps_its_record(rejected_record: LatencyRecord) -> None:
    error = copy.copy(PhoneError("phone_unstable", "noisy", rejected_record))
    assert (error.kind, str(error), error.record) == ("phone_unstable", "noisy", rejected_record)
