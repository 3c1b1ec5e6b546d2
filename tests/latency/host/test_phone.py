from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from latency.errors import CandidateError, PhoneError, PhoneUnstableError, RunnerCrashedError, ToolError
from latency.host.expected_output import ExpectedOutput
from latency.host.phone import HostPhone
from latency.host.runner import fixed_input
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.window import rejection

BUSY = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print(flush=True)\nwhile True: pass"


@contextmanager
def busy_process(core: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", BUSY, str(core)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def gone(pid: int, timeout_s: float = 10.0) -> bool:
    """Whether the process ends (or is a zombie that nobody has waited for) in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_noise_on_the_core_gives_no_latency(slow_model: bytes, tolerant: MeasurementSettings) -> None:
    core = max(os.sched_getaffinity(0))
    strict = replace(tolerant, contention_limit=1.03, max_attempts=2, runs=10)
    phone = HostPhone()
    try:
        with busy_process(core), pytest.raises(PhoneUnstableError) as caught:
            phone.measure(slow_model, strict)
    finally:
        phone.close()
    assert caught.value.kind == "phone_unstable"
    assert caught.value.record is not None
    windows = [rejected.window for rejected in caught.value.record.rejected_windows]
    assert len(windows) == 2
    assert all((window.contention or 0.0) > 1.03 and rejection(window, strict) is not None for window in windows)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs a second core to be busy on")
def test_noise_on_another_core_gives_no_latency(tiny_model: bytes, tolerant: MeasurementSettings) -> None:
    # Neither CPU times nor context switches show it, and on hyper-threads it makes runs up to 1.6 times slower.
    strict = replace(tolerant, others_busy_limit=0.5 / (os.cpu_count() or 1), max_attempts=2)
    phone = HostPhone()
    try:
        with busy_process(min(os.sched_getaffinity(0))), pytest.raises(PhoneError, match="other work") as caught:
            phone.measure(tiny_model, strict)
    finally:
        phone.close()
    assert caught.value.kind == "phone_unstable"


def test_the_quiet_context_surrounds_the_calibration_and_each_window_and_nothing_else(
    tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    entered: list[bool] = []

    @contextmanager
    def quiet() -> Iterator[None]:
        entered.append(True)
        yield

    phone = HostPhone(quiet=quiet)
    try:
        phone.identify()
        assert entered == []
        phone.measure(tiny_model, tolerant)
        assert len(entered) == 2
        with pytest.raises(PhoneError, match="steady"):
            phone.measure(tiny_model, replace(tolerant, relative_mad_limit=0.0, runs=200, max_attempts=3))
        assert len(entered) == 5
    finally:
        phone.close()


def test_a_quiet_context_that_fails_fails_the_measurement_and_leaves_the_phone_usable(
    tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    failures = [ToolError("pause_failed", "no")]

    @contextmanager
    def quiet() -> Iterator[None]:
        if failures:
            raise failures.pop()
        yield

    phone = HostPhone(quiet=quiet)
    try:
        with pytest.raises(ToolError, match="no"):
            phone.measure(tiny_model, tolerant)
        assert phone.measure(tiny_model, tolerant).accepted
    finally:
        phone.close()


def test_an_interrupted_measurement_leaves_no_answer_for_the_next(
    tiny_model: bytes, slow_model: bytes, tolerant: MeasurementSettings
) -> None:
    phone = HostPhone()
    # A test run in the background of a shell script ignores Ctrl-C, and so would this test.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        expected = phone.measure(tiny_model, tolerant).output_checksum
        threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            phone.measure(slow_model, replace(tolerant, warmup_min_ms=20_000.0))
        assert phone.measure(tiny_model, tolerant).output_checksum == expected
    finally:
        signal.signal(signal.SIGINT, handler)
        phone.close()


def test_a_core_that_is_not_ours_is_refused() -> None:
    with pytest.raises(PhoneError, match="core 4096 is not one of") as caught:
        HostPhone(core=4096)
    assert caught.value.kind == "phone_unknown"


def test_the_runner_ends_when_its_owner_is_killed_in_the_middle_of_a_measurement(
    slow_model: bytes, tmp_path: os.PathLike[str]
) -> None:
    model_path = os.path.join(tmp_path, "model.onnx")
    with open(model_path, "wb") as file:
        file.write(slow_model)
    owner_code = (
        "import sys; from pathlib import Path\n"
        "from latency.host.phone import HostPhone; from latency.measurement.protocol import MeasurementSettings\n"
        "phone = HostPhone(); phone.identify(); print(phone.runner_pid, flush=True)\n"
        "phone.measure(Path(sys.argv[1]).read_bytes(), MeasurementSettings(warmup_min_ms=60_000.0))"
    )
    command = [sys.executable, "-c", owner_code, model_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        runner_pid = int(owner.stdout.readline())
        time.sleep(0.5)  # Into the warm-up.
        assert not gone(runner_pid, timeout_s=0.05)
        owner.kill()
        assert gone(runner_pid)


def test_the_fixed_inputs_are_what_other_runners_must_reproduce() -> None:
    hashes = [2654435761, 2 * 2654435761 % 2**32, 3 * 2654435761 % 2**32]
    assert fixed_input([1, 3], position=0)[0].tolist() == pytest.approx([h / 2**31 - 1 for h in hashes])
    assert fixed_input([1], position=1)[0] == fixed_input([2], position=0)[1]


def node_model(node: onnx.NodeProto, dimensions: list[int | str], output: list[int | str] | None = None) -> bytes:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
        for name, sizes in (("x", dimensions), ("y", output))
    ]
    graph = helper.make_graph(
        [node], "graph", values[:1], values[1:], [numpy_helper.from_array(np.array(True), "true")]
    )
    imports = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


def endless_model() -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 8]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 8]),
        ],
    )
    return node_model(helper.make_node("Loop", ["", "true", "x"], ["y"], body=body), [1, 8])


@pytest.fixture(scope="module")
def host() -> Iterator[HostPhone]:
    phone = HostPhone()
    yield phone
    phone.close()


@pytest.mark.parametrize(
    ("make", "stage", "reason"),
    [
        (endless_model, "run", "does not end: onnxruntime has computed for"),
        (
            lambda: node_model(helper.make_node("RandomNormalLike", ["x"], ["y"]), [1, 8]),
            "run",
            "differs from run to run",
        ),
        (
            lambda: node_model(helper.make_node("Neg", ["x"], ["y"]), ["batch", 3, "height"]),
            "inputs",
            r"dimension 2 \(height\) is not fixed",
        ),
    ],
    ids=["never ends", "differs from run to run", "open dimension"],
)
def test_a_model_at_fault_is_found_at_once_and_the_phone_goes_on(
    host: HostPhone,
    tiny_model: bytes,
    tolerant: MeasurementSettings,
    make: Callable[[], bytes],
    stage: str,
    reason: str,
) -> None:
    with pytest.raises(CandidateError, match=reason) as caught:
        host.measure(make(), replace(tolerant, load_timeout_s=1.5))
    assert caught.value.stage == stage
    assert host.measure(tiny_model, tolerant).accepted


def test_a_model_whose_output_has_another_rank_than_declared_is_measured(
    host: HostPhone, tolerant: MeasurementSettings
) -> None:
    record = host.measure(node_model(helper.make_node("Squeeze", ["x"], ["y"]), [1, 1, 8], ["m", "c"]), tolerant)
    assert record.input_shapes == {"x": (1, 1, 8)}


def test_a_batch_that_is_not_one_is_said(host: HostPhone, tolerant: MeasurementSettings) -> None:
    record = host.measure(node_model(helper.make_node("Neg", ["x"], ["y"]), [8, 3]), tolerant)
    assert "first dimension of input 'x' is 8" in record.flags[0]


class CrashingRunner:
    """A runner that every model crashes."""

    pid = 0
    alive = False

    def __init__(self, core: int) -> None:
        pass

    def load_reference(self, *given: object) -> None:
        pass

    def load(self, *given: object) -> None:
        raise RunnerCrashedError("killed by signal 11")

    def kill(self) -> None:
        pass

    close = kill
    engine = engine_version = "crashing"


def test_a_model_that_crashes_two_fresh_runners_is_at_fault(
    monkeypatch: pytest.MonkeyPatch, tolerant: MeasurementSettings
) -> None:
    monkeypatch.setattr("latency.host.phone.RunnerProcess", CrashingRunner)
    monkeypatch.setattr("latency.host.expected_output.RunnerProcess", CrashingRunner)
    phone, expected = HostPhone(), ExpectedOutput()
    for measure in (phone.measure, expected.of):
        with pytest.raises(CandidateError, match="crashes onnxruntime, in two fresh processes") as caught:
            measure(b"model", tolerant)
        assert caught.value.stage == "run"
