"""A phone as a Python object; the phones behind it are small ones that count, and this machine once."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from latency import CandidateError, LatencyError, LatencyRecord, MeasurementSettings, PhoneError, PhoneIdentity
from latency.measurement.record import model_sha256
from mnas import phone as phone_module
from mnas.errors import ConfigurationError
from mnas.phone import Phone


@pytest.fixture
def model() -> onnx.ModelProto:
    """A product of 1,000 numbers with a vector."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1000])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, [1, 1])
    weights = numpy_helper.from_array(np.ones((1000, 1), np.float32), "weights")
    graph = helper.make_graph([helper.make_node("MatMul", ["image", "weights"], ["logit"])], "tiny", [image], [logit])
    graph.initializer.append(weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


class CountingPhone:
    """A unit of a phone model; says how many measurements ran at the same time."""

    name = "counting"
    running = 0
    most_running = 0

    def __init__(self, record: LatencyRecord, serial: str) -> None:
        self._record = replace(record, phone=replace(record.phone, serial=serial))
        self.measured: list[bytes] = []
        self.closed = 0

    def identify(self) -> PhoneIdentity:
        return self._record.phone

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        type(self).running += 1
        type(self).most_running = max(self.most_running, self.running)
        time.sleep(0.05)
        self.measured.append(model)
        type(self).running -= 1
        return replace(self._record, model_sha256=model_sha256(model), settings=settings)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def units(latency_record: LatencyRecord, monkeypatch: pytest.MonkeyPatch) -> list[CountingPhone]:
    units = [CountingPhone(latency_record, serial) for serial in ("A", "B")]
    monkeypatch.setattr(phone_module, "create_phones", lambda name, leases: units)
    return units


@pytest.fixture
def phone(units: list[CountingPhone]) -> Iterator[Phone]:
    with Phone("host") as phone:
        yield phone


def test_a_model_is_given_as_path_bytes_or_model(
    phone: Phone, units: list[CountingPhone], model: onnx.ModelProto, tmp_path: Path
) -> None:
    content = model.SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    records = [phone.measure(given) for given in (path, str(path), content, model)]
    assert {record.model_sha256 for record in records} == {model_sha256(content)}
    assert sum(len(unit.measured) for unit in units) == 4


def test_settings_change_the_protocol(phone: Phone) -> None:
    assert phone.measure(b"model", {"runs": 7}).settings == MeasurementSettings(runs=7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"run": 7}, r"unknown field 'run' \(did you mean 'runs'\?\)"), ({"runs": 0}, "runs is 0; it must be")],
)
def test_a_wrong_setting_is_named(phone: Phone, settings: dict[str, int | float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        phone.measure(b"model", settings)


def test_a_file_that_is_missing_is_named(phone: Phone, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.onnx: cannot be read"):
        phone.measure(tmp_path / "model.onnx")


def test_two_threads_take_turns(phone: Phone) -> None:
    threads = [threading.Thread(target=phone.measure, args=(b"model",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert CountingPhone.most_running == 1


def test_all_units_are_closed_with_it(units: list[CountingPhone]) -> None:
    with Phone("host") as phone:
        phone.measure(b"model")
        assert [unit.closed for unit in units] == [0, 0]
    phone.close()
    assert [unit.closed for unit in units] == [1, 1]


def test_an_unknown_phone_is_named() -> None:
    with pytest.raises(PhoneError, match="no phone is called 'pixel'"):
        Phone("pixel")


def test_this_machine_is_a_phone(model: onnx.ModelProto) -> None:
    lenient: dict[str, Any] = {"contention_limit": 10.0, "relative_mad_limit": 1.0, "switches_per_s_limit": 1e6}
    lenient |= {"others_busy_limit": 1e3, "drift_limit": 1e3, "calibration_s": 0.1, "warmup_min_ms": 1.0, "runs": 10}
    with Phone("host") as phone:
        record = phone.measure(model, lenient)
    assert record.phone.kind == "host"
    assert len(record.wall_ms) == 10
    assert record.latency_ms > 0


class FailingPhone(CountingPhone):
    """Fails with these errors, one a measurement, before it measures."""

    def __init__(self, record: LatencyRecord, serial: str, *errors: LatencyError) -> None:
        super().__init__(record, serial)
        self.errors = list(errors)
        self.asked = 0

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return super().measure(model, settings)


@pytest.fixture
def failing(latency_record: LatencyRecord, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[FailingPhone]]:
    def make(*errors_of_units: list[LatencyError]) -> list[FailingPhone]:
        units = [FailingPhone(latency_record, str(number), *errors) for number, errors in enumerate(errors_of_units)]
        monkeypatch.setattr(phone_module, "create_phones", lambda name, leases: units)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        return units

    return make


def error(kind: str) -> LatencyError:
    return PhoneError(kind, f"it is {kind}")


@pytest.mark.parametrize("kind", ["phone_hot", "phone_busy", "timeout", "phone_unauthorized", "phone_slow_when_added"])
def test_what_was_waited_for_is_not_waited_for_again(failing: Callable[..., list[FailingPhone]], kind: str) -> None:
    (unit,) = failing([error(kind)] * 3)
    with Phone("host") as phone, pytest.raises(PhoneError) as caught:
        phone.measure(b"model")
    assert (caught.value.kind, unit.asked) == (kind, 1)


def test_another_unit_is_asked_for_what_one_cannot_do(failing: Callable[..., list[FailingPhone]]) -> None:
    first, second = failing([error("phone_hot")], [])
    with Phone("host") as phone:
        assert phone.measure(b"model").phone.serial == "1"
    assert (first.asked, second.asked) == (1, 1)


def test_an_unsteady_phone_is_tried_again_and_then_given_up(failing: Callable[..., list[FailingPhone]]) -> None:
    (unit,) = failing([error("phone_unstable")] * 100)
    with Phone("host") as phone, pytest.raises(PhoneError, match="it is phone_unstable"):
        phone.measure(b"model")
    assert unit.asked == phone_module.TRIES


@pytest.mark.parametrize(("lost", "asked"), [(1, 2), (2, 2)])
def test_a_connection_lost_at_once_is_made_again_once(
    failing: Callable[..., list[FailingPhone]], lost: int, asked: int
) -> None:
    (unit,) = failing([error("phone_gone")] * lost)
    with Phone("host") as phone:
        if lost == 1:
            assert phone.measure(b"model").accepted
        else:
            with pytest.raises(PhoneError):
                phone.measure(b"model")
    assert unit.asked == asked


def test_a_model_at_fault_is_asked_once(failing: Callable[..., list[FailingPhone]]) -> None:
    (unit,) = failing([CandidateError("model_rejected", "no")] * 3)
    with Phone("host") as phone, pytest.raises(CandidateError):
        phone.measure(b"model")
    assert unit.asked == 1


def test_a_shape_that_does_not_fit_is_a_configuration_error(phone: Phone, model: onnx.ModelProto) -> None:
    with pytest.raises(ConfigurationError, match="shapes: the model has no input 'x'; it has 'image'"):
        phone.measure(model, shapes={"x": [1, 2]})


def test_the_shapes_of_the_profile_hold_for_inputs_that_are_open(
    phone: Phone, units: list[CountingPhone], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone_module, "phone_shapes", lambda name: {"image": (1, 3, 8, 8), "other": (1,)})
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in ("image", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["image"], ["y"])], "open", values[:1], values[1:])
    phone.measure(helper.make_model(graph))
    phone.measure(helper.make_model(graph), shapes={"image": [1, 3, 4, 4]})
    measured = [onnx.load_model_from_string(each) for each in units[0].measured]
    sizes = [[size.dim_value for size in each.graph.input[0].type.tensor_type.shape.dim] for each in measured]
    assert sizes == [[1, 3, 8, 8], [1, 3, 4, 4]]
