"""What the latency meter makes of each kind of error, and of several phones; most phones here are told what to do."""

import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path

import onnx
import pytest

from latency import (
    CandidateError,
    LatencyCache,
    LatencyError,
    LatencyRecord,
    LatencyService,
    MeasurementSettings,
    PhoneError,
    PhoneGoneError,
    PhoneIdentity,
    RetryPolicy,
    ToolError,
    create_phones,
)
from latency.measurement.record import Session, model_sha256
from latency.measurement.window import TimedWindow
from mnas.data import ImageForm
from mnas.errors import FailureKind, TrialError
from mnas.experiment import LatencySettings, OtherPhone
from mnas.search import latency as search_latency
from mnas.search.latency import OnnxLatencyMeter, open_latency_meter
from search_space import Architecture, parse_block

ARCHITECTURE = Architecture((parse_block("r1_k3_s22_e3_i8_o16"),), stem_filters=8, head_filters=16)
FORM = ImageForm(image_size=16, channels=1, num_classes=10)


class FailingPhone:
    name = "failing"

    def __init__(self, error: LatencyError) -> None:
        self._error = error
        self.models: list[bytes] = []

    def identify(self) -> PhoneIdentity:
        return PhoneIdentity(self.name, "scripted", "0", "nothing", "none", "0", "none", core=0)

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        self.models.append(model)
        raise self._error

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CandidateError("model_rejected", "no such operator"), FailureKind.MODEL_REJECTED),
        (PhoneError("phone_hot", "too hot"), FailureKind.PHONE),
        (ToolError("runner_start", "no runner"), FailureKind.LATENCY_TOOL),
    ],
)
def test_each_kind_of_error_becomes_its_failure(error: LatencyError, kind: FailureKind) -> None:
    phone = FailingPhone(error)
    with LatencyService([phone], retry=RetryPolicy(retries=0)) as service:
        meter = OnnxLatencyMeter({"phone": service}, "phone", FORM)
        with pytest.raises(TrialError) as caught:
            meter.submit(ARCHITECTURE).result(30)
        meter.close()
    assert (caught.value.failure.kind, caught.value.failure.message) == (kind, str(error))


def test_the_phone_gets_the_network_for_the_runs_input() -> None:
    phone = FailingPhone(PhoneError("phone_hot", "as arranged"))
    with LatencyService([phone], retry=RetryPolicy(retries=0)) as service:
        meter = OnnxLatencyMeter({"phone": service}, "phone", FORM)
        meter.submit(ARCHITECTURE).exception(30)
        meter.close()
    shape = onnx.load_from_string(phone.models[0]).graph.input[0].type.tensor_type.shape
    assert [dimension.dim_value for dimension in shape.dim][1:] == [1, 16, 16]


class ConstantPhone:
    """Gives every network the same latency."""

    def __init__(self, name: str, latency_ms: float) -> None:
        self.name = name
        self.models: list[bytes] = []
        self._window = TimedWindow((latency_ms,), (latency_ms,), 0)

    def identify(self) -> PhoneIdentity:
        return PhoneIdentity(self.name, "scripted", self.name, "nothing", "none", "0", "none", core=0)

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        self.models.append(model)
        return LatencyRecord(
            model_sha256=model_sha256(model),
            phone=self.identify(),
            settings=settings,
            sessions=(Session(None, self._window),),
            rejected_windows=(),
            accepted=True,
            reason="as arranged",
            measured_at="2026-01-01T00:00:00+00:00",
        )

    def close(self) -> None:
        pass


def test_a_network_is_timed_on_every_phone_model() -> None:
    services = {name: LatencyService([ConstantPhone(name, ms)]) for name, ms in (("fast", 2.0), ("slow", 5.0))}
    meter = OnnxLatencyMeter(services, "slow", FORM)
    result = meter.submit(ARCHITECTURE).result(30)
    for service in services.values():
        service.close()
    meter.close()
    assert (result["latency_ms"], result["phone"]["name"]) == (5.0, "slow")
    assert [(name, other["latency_ms"]) for name, other in result["others"].items()] == [("fast", 2.0)]
    assert result["others"]["fast"]["model_sha256"] == result["model_sha256"]


def test_after_a_failure_only_what_is_missing_is_timed_again(tmp_path: Path) -> None:
    cache = LatencyCache(tmp_path / "latency.sqlite")
    works, fixed = ConstantPhone("works", 2.0), ConstantPhone("fixed", 5.0)
    for other in (FailingPhone(PhoneGoneError("unplugged")), fixed):
        with ExitStack() as stack:
            services = {
                name: stack.enter_context(LatencyService([phone], cache=cache, retry=RetryPolicy(retries=0)))
                for name, phone in (("named", works), ("other", other))
            }
            meter = OnnxLatencyMeter(services, "named", FORM)
            future = meter.submit(ARCHITECTURE)
            error = future.exception(30)
            meter.close()
        assert (error is None) == (other is fixed)
    assert (len(works.models), len(fixed.models)) == (1, 1)


def test_equal_phones_work_at_the_same_time() -> None:
    both_at_work = threading.Barrier(2, timeout=30)

    class MeetingPhone(ConstantPhone):
        def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
            both_at_work.wait()
            return super().measure(model, settings)

    with LatencyService([MeetingPhone("a", 1.0), MeetingPhone("b", 1.0)]) as service:
        meter = OnnxLatencyMeter({"phone": service}, "phone", FORM)
        futures = [meter.submit(ARCHITECTURE) for _ in range(2)]
        assert [future.result(30)["latency_ms"] for future in futures] == [1.0, 1.0]
        meter.close()


def test_a_phone_without_a_service_is_refused() -> None:
    with LatencyService([ConstantPhone("a", 1.0)]) as service, pytest.raises(ValueError, match="'b'; there are a"):
        OnnxLatencyMeter({"a": service}, "b", FORM)


def test_a_network_is_timed_on_the_host() -> None:
    # A busy test machine is good enough to see that a number comes out.
    tolerant = MeasurementSettings(
        contention_limit=10.0,
        relative_mad_limit=1.0,
        switches_per_s_limit=1e6,
        others_busy_limit=1e3,
        drift_limit=1e3,
        calibration_s=0.0,
    )
    phone = create_phones("host")[0]
    with LatencyService([phone], tolerant) as service:
        meter = OnnxLatencyMeter({"host": service}, "host", FORM)
        result = meter.submit(ARCHITECTURE).result(300)
        meter.close()
    phone.close()
    assert result["latency_ms"] > 0
    assert LatencyRecord.from_dict(result).accepted


class LostPhone(FailingPhone):
    name = "lost"

    def identify(self) -> PhoneIdentity:
        raise PhoneError("unreachable", "no answer")


def test_the_phones_that_can_be_reached_are_checked_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phones = {"failing": FailingPhone(PhoneError("phone_hot", "too hot")), "lost": LostPhone(PhoneError("x", "x"))}
    monkeypatch.setattr(search_latency, "find_phones", lambda name, quiet, leases: [phones[name]])
    monkeypatch.setattr(LatencySettings, "measurement_settings", lambda self, name: MeasurementSettings())
    checked: list[Mapping[str, Collection[PhoneIdentity]]] = []

    def refuse(found: Mapping[str, Collection[PhoneIdentity]]) -> None:
        checked.append(found)
        raise RuntimeError("another build")

    settings = LatencySettings(target_ms=1.0, phone="failing", others={"lost": OtherPhone(target_ms=1.0)})
    with (
        pytest.raises(RuntimeError, match="another build"),
        open_latency_meter(settings, FORM, nullcontext, refuse),
    ):
        pass
    assert checked == [{"failing": [phones["failing"].identify()], "lost": []}]
    assert phones["failing"].models == []
