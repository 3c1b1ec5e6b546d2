from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, LoadReport, PhoneIdentity, RejectedWindow, Session
from latency.measurement.window import TimedWindow


def convolution_model(channels: int, size: int, batch: int | str = 1) -> bytes:
    weight = np.random.default_rng(0).standard_normal((channels, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "weight"], ["features"], pads=[1, 1, 1, 1])],
        "convolution",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, channels, size, size])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def tiny_model() -> bytes:
    return convolution_model(channels=8, size=16)


@pytest.fixture(scope="session")
def dynamic_batch_model() -> bytes:
    return convolution_model(channels=8, size=16, batch="batch")


@pytest.fixture(scope="session")
def slow_model() -> bytes:
    """About 20 ms per run, far longer than a scheduler's time slice."""
    return convolution_model(channels=128, size=384)


@pytest.fixture(scope="session")
def integer_input_model() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["tokens"], ["same"])],
        "integers",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, [4])],
        [helper.make_tensor_value_info("same", TensorProto.INT64, [4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def failing_run_model() -> bytes:
    """A graph that loads, and whose first inference fails: 3 * 8 * 8 values do not fit the shape (1, 7)."""
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["images", "shape"], ["features"])],
        "reshape",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 7])],
        [numpy_helper.from_array(np.array([1, 7]), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def tolerant() -> MeasurementSettings:
    """Accepts what a busy test machine gives, quickly: for tests of everything but the rejection rules."""
    return MeasurementSettings(
        warmup_runs=2,
        warmup_min_ms=0.0,
        rewarm_min_ms=0.0,
        runs=12,
        contention_limit=10.0,
        relative_mad_limit=1.0,
        switches_per_s_limit=1e6,
        others_busy_limit=1e3,
        drift_limit=1e3,
        faster_limit=1.0,
        calibration_s=0.0,
        session_spread_limit=1e3,
        load_timeout_s=30.0,
        window_timeout_s=30.0,
    )


@pytest.fixture
def record(tolerant: MeasurementSettings) -> LatencyRecord:
    steady = TimedWindow((2.0, 2.1, 2.2), (2.0, 2.0, 2.1), 0, 1_800_000, None)
    disturbed = TimedWindow((4.0, 2.1), (2.0, 2.0), 3)
    return LatencyRecord(
        model_sha256="0" * 64,
        phone=PhoneIdentity("host", "host", "box", "some processor", "onnxruntime", "1.20.0", "wheel", core=1),
        settings=tolerant,
        sessions=(Session(LoadReport(3.0, 2.5, 10, 300.0, 12.5, "schedutil"), steady),),
        rejected_windows=(RejectedWindow("contention", disturbed),),
        accepted=True,
        reason="within all limits",
        measured_at="2025-01-01T00:00:00.000+00:00",
    )


@pytest.fixture
def rejected_record(record: LatencyRecord) -> LatencyRecord:
    return replace(record, sessions=(), accepted=False, reason="contention")
