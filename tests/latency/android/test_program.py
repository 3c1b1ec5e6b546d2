"""A benchmark program of the user's own: here ONNX Runtime's stand-in is a shell script that the phone really runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from latency.android.phone import AdbPhone
from latency.android.profile import BenchmarkProgram
from latency.errors import CandidateError, LatencyError, PhoneError, ToolError
from latency.loopback.adbd import Adbd
from latency.loopback.phone import phone_profile
from latency.measurement.protocol import MeasurementSettings

TIMES = 'test -s "$1" && for i in $(seq "$2"); do echo "iteration $i took ${i}00 us"; done'

Make = Callable[..., AdbPhone]


@pytest.fixture
def make_phone(adbd: Adbd, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(script: str, convert: tuple[str, ...] = ()) -> AdbPhone:
            program = tmp_path / "perf_tool"
            program.write_text(f"#!/bin/sh\n{script}\n")
            benchmark = BenchmarkProgram(
                program=str(program),
                command=("{program}", "{model}", "{runs}"),
                pattern=r"took (?P<time>\d+) us",
                unit="us",
                convert=convert,
            )
            phone = AdbPhone(*phone_profile(adbd, benchmark=benchmark))
            stack.callback(phone.close)
            return phone

        yield make


def test_its_times_become_the_runs(make_phone: Make, tiny_model: bytes, tolerant: MeasurementSettings) -> None:
    record = make_phone(TIMES).measure(tiny_model, tolerant)
    assert record.wall_ms == pytest.approx([0.1 * run for run in range(1, tolerant.runs + 1)])
    assert (record.cpu_ms, record.contention, record.output_checksum) == (None, None, None)


def test_the_record_names_the_program(make_phone: Make, tiny_model: bytes, tolerant: MeasurementSettings) -> None:
    assert make_phone(TIMES).measure(tiny_model, tolerant).phone.engine == "perf_tool"


def test_what_a_conversion_makes_is_what_is_timed(
    make_phone: Make, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    only_converted = f'grep -q converted "$1" && {TIMES}'
    phone = make_phone(only_converted, convert=("sh", "-c", 'echo converted > "$2"', "convert", "{onnx}", "{out}"))
    assert phone.measure(tiny_model, tolerant).accepted


@pytest.mark.parametrize(
    ("script", "convert", "error", "kind"),
    [
        ("echo cannot read it >&2; exit 1", (), CandidateError, "model_rejected"),
        ("kill -SEGV $$", (), PhoneError, "runner_died"),
        ("echo no times here", (), ToolError, "runner_protocol"),
        (TIMES, ("false",), CandidateError, "model_rejected"),
        (TIMES, ("no-such-program",), ToolError, "convert"),
    ],
)
def test_each_failure_has_its_kind(
    make_phone: Make,
    tiny_model: bytes,
    tolerant: MeasurementSettings,
    script: str,
    convert: tuple[str, ...],
    error: type[LatencyError],
    kind: str,
) -> None:
    with pytest.raises(LatencyError) as caught:
        make_phone(script, convert).measure(tiny_model, tolerant)
    assert (type(caught.value), caught.value.kind) == (error, kind)


def test_a_program_that_is_not_there_is_named(make_phone: Make, tiny_model: bytes, tmp_path: Path) -> None:
    phone = make_phone(TIMES)
    (tmp_path / "perf_tool").unlink()
    with pytest.raises(ToolError, match="perf_tool"):
        phone.identify()
