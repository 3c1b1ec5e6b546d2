"""What the runner answers, from a phone that lies or is broken: a session or a typed error that names the phone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency.adb import ShellResult
from latency.android.profile import BenchmarkProgram
from latency.android.program import MAX_TIMES, ProgramRunner
from latency.android.runner_session import PhoneRunner
from latency.errors import CandidateError, LatencyError, PhoneError, PhoneUnstableError, ToolError
from latency.host.line_process import LineProcess
from latency.host.runner_process import _answer
from latency.measurement.protocol import MeasurementSettings
from latency.runtime import BundleFile, RuntimeBundle
from tests.latency.android.local_device import local_device

GOOD: dict[str, Any] = {
    "schema": 1,
    "ok": True,
    "moved": False,
    "governor": None,
    "load_ms": 1.0,
    "first_run_ms": 1.0,
    "warmup_runs": 1,
    "warmup_ms": 1.0,
    "output_checksum": 1.0,
    "others_busy": None,
    "involuntary_switches": 0,
    "frequency_khz_before": None,
    "frequency_khz_after": None,
    "frequency_khz_max": None,
    "output_sums": [1.0, None],
    "temperature_c_before": None,
    "temperature_c_after": None,
    "reference_before_ms": 0.3,
    "reference_after_ms": 0.3,
    "wall_ms": [1.0, 1.1],
    "cpu_ms": [1.0, 1.0],
}
FEW = replace(MeasurementSettings(), runs=2, calibration_s=0.0, max_attempts=1, backoff_s=0.0)


def runner(stdout: str, status: int = 0) -> PhoneRunner:
    bundle = RuntimeBundle("x86_64", "onnxruntime", "1.32.0", "0" * 64, (), None)
    return PhoneRunner(local_device(lambda argv: ShellResult(stdout, "", status)), bundle, "/data/runtime", core=0)


def error_of(call: Callable[[], object]) -> LatencyError:
    with pytest.raises(LatencyError) as caught:
        call()
    return caught.value


def test_a_good_answer_is_a_session() -> None:
    session, best_ms = runner(json.dumps(GOOD)).session("m", FEW, 0.3)
    assert (session.window.wall_ms, best_ms) == ((1.0, 1.1), 0.3)


def test_words_before_and_after_the_answer_do_not_matter() -> None:
    text = f'{{"schema": 1\n{json.dumps(GOOD)}\n[1]\n{"[" * 100_000}\n'
    assert runner(text).session("m", FEW, 0.3)[0].window.wall_ms == (1.0, 1.1)


def test_only_the_last_lines_are_looked_at() -> None:
    text = f"{json.dumps(GOOD)}\n" + "{\n" * 100_000
    assert error_of(lambda: runner(text).session("m", FEW, 0.3)).kind == "runner_protocol"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference_before_ms": None}, "reference_before_ms"),
        ({"reference_before_ms": True}, "reference_before_ms"),
        ({"reference_after_ms": -1}, "reference_after_ms"),
        ({"wall_ms": []}, "at least one run"),
        ({"wall_ms": [1.0]}, "1 wall and 2 CPU times"),
        ({"wall_ms": [0.0, 1.0]}, "above 0"),
        ({"wall_ms": [1.0] * 3, "cpu_ms": [1.0] * 3}, "3 runs, and 2 were asked for"),
        ({"wall_ms": "fast"}, "wall_ms"),
        ({"involuntary_switches": 1 << 70}, "involuntary_switches"),
        ({"warmup_runs": 0.5}, "warmup_runs"),
        ({"governor": 3}, "governor"),
        ({"output_sums": "many"}, "output_sums"),
        ({"output_sums": [True]}, "output_sums"),
        ({"frequency_khz_max": "fast"}, "frequency_khz_max"),
    ],
)
def test_an_answer_that_makes_no_sense_names_the_phone_and_the_fact(changes: dict[str, Any], words: str) -> None:
    error = error_of(lambda: runner(json.dumps(GOOD | changes)).session("m", FEW, None))
    assert (type(error), error.kind) == (ToolError, "runner_protocol")
    assert words in str(error)
    assert "usb:1A2B" in str(error)


@pytest.mark.parametrize("key", ["wall_ms", "reference_before_ms", "load_ms", "output_checksum"])
def test_an_answer_without_a_fact_names_it(key: str) -> None:
    answer = {name: value for name, value in GOOD.items() if name != key}
    assert key in str(error_of(lambda: runner(json.dumps(answer)).session("m", FEW, None)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_no_answer(number: str) -> None:
    text = json.dumps(GOOD | {"others_busy": 12345}).replace("12345", number)
    assert error_of(lambda: runner(text).session("m", FEW, None)).kind == "runner_protocol"


def test_a_failure_is_shown_shortened() -> None:
    failure = {"schema": 1, "ok": False, "stage": "load", "error": "x" * 100_000}
    error = error_of(lambda: runner(json.dumps(failure), 3).session("m", FEW, None))
    assert (type(error), len(str(error)) < 5000) == (CandidateError, True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), json_values, max_size=3))
@settings(deadline=None)
def test_any_answer_is_a_session_or_a_typed_error_that_names_the_phone(changes: dict[str, Any]) -> None:
    try:
        runner(json.dumps(GOOD | changes)).session("m", FEW, None)
    except LatencyError as error:
        text = str(error)
    else:
        return
    assert "usb:1A2B" in text


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_a_typed_error_that_names_the_phone(text: str) -> None:
    assert "usb:1A2B" in str(error_of(lambda: runner(text).session("m", FEW, None)))


@pytest.mark.parametrize(
    ("reference_ms", "others_busy"),
    [([], []), ([0.3], []), ([0.3], ["no"]), ([-1.0], [None]), ("fast", [None]), (None, None), ([0.3], [-1.0])],
)
def test_a_calibration_that_makes_no_sense_names_the_phone(reference_ms: object, others_busy: object) -> None:
    answer = {"schema": 1, "ok": True, "reference_ms": reference_ms, "others_busy": others_busy}
    error = error_of(lambda: runner(json.dumps(answer)).best_of_reference(FEW))
    assert (error.kind, "usb:1A2B" in str(error)) == ("runner_protocol", True)


def test_a_calibration_of_a_phone_that_is_always_busy_is_unstable() -> None:
    answer = {"schema": 1, "ok": True, "reference_ms": [0.3], "others_busy": [0.9]}
    assert isinstance(error_of(lambda: runner(json.dumps(answer)).best_of_reference(FEW)), PhoneUnstableError)


def program(result: ShellResult) -> ProgramRunner:
    """A benchmark program of the user's; the phone is an old one: its `timeout` gives 127 + signal."""

    def answer(argv: Sequence[str]) -> ShellResult:
        return ShellResult("", "", 136) if argv[-1] == "KILL" else result

    described = BenchmarkProgram(program="p", command=("p", "{model}"), pattern=r"(?P<time>\S+) us", unit="us")
    file = BundleFile("p", Path("p"), "0" * 64, executable=True)
    return ProgramRunner(local_device(answer), described, file, "/data/runtime", core=0)


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        (ShellResult("", "", 138), PhoneError, "died of signal 11"),
        (ShellResult("", "not found", 127), ToolError, "cannot be started: not found"),
        (ShellResult("", "no permission", 126), ToolError, "cannot be started"),
        (ShellResult("", "bad model", 1), CandidateError, "status 1"),
        (ShellResult("", "", 127), ToolError, "matches no time"),  # As toybox 0.8.9 ends what is quick.
        (ShellResult("-1 us", "", 0), ToolError, "matches no time"),
        (ShellResult("nan us", "", 0), ToolError, "matches no time"),
        (ShellResult("1 us\n" * (MAX_TIMES + 1), "", 0), ToolError, "matches no time"),
    ],
)
def test_a_program_of_the_users_fails_with_the_right_blame(
    result: ShellResult, error: type[LatencyError], words: str
) -> None:
    caught = error_of(lambda: program(result).session("m", FEW, None))
    assert (type(caught), words in str(caught), "usb:1A2B" in str(caught)) == (error, True, True)


def test_a_line_without_end_of_the_hosts_runner_is_refused() -> None:
    process = LineProcess(["sh", "-c", "tr '\\0' x < /dev/zero"])
    try:
        with pytest.raises(ValueError, match="more than 16777216 bytes"):
            process.receive(30)
    finally:
        process.kill()


@given(st.text(max_size=50) | json_values.map(json.dumps))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_line_of_the_hosts_runner_is_an_answer_or_a_value_error(line: str) -> None:
    try:
        answer = _answer(line)
    except ValueError:
        return
    assert isinstance(answer["ok"], bool)
