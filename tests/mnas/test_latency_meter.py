"""What the latency meter makes of each kind of error; the phone here is one that only fails."""

import onnx
import pytest

from latency import (
    CandidateError,
    LatencyError,
    LatencyRecord,
    LatencyService,
    MeasurementSettings,
    PhoneError,
    PhoneIdentity,
    RetryPolicy,
    ToolError,
    create_phone,
)
from mnas.failure import FailureKind, TrialError
from mnas.latency_meter import OnnxLatencyMeter
from search_space import Architecture, parse_block

ARCHITECTURE = Architecture((parse_block("r1_k3_s22_e3_i8_o16"),), stem_filters=8, head_filters=16)
INPUT_FORM = {"image_size": 16, "channels": 1, "num_classes": 10}


class FailingPhone:
    name = "failing"

    def __init__(self, error: LatencyError) -> None:
        self._error = error
        self.models: list[bytes] = []

    def identify(self) -> PhoneIdentity:
        raise self._error

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        self.models.append(model)
        raise self._error

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CandidateError("model_rejected", "no such operator"), FailureKind.MODEL_REJECTED),
        (PhoneError("phone_unstable", "too hot"), FailureKind.PHONE),
        (ToolError("runner_start", "no runner"), FailureKind.LATENCY_TOOL),
    ],
)
def test_each_kind_of_error_becomes_its_failure(error: LatencyError, kind: FailureKind) -> None:
    phone = FailingPhone(error)
    with LatencyService(phone, retry=RetryPolicy(retries=0)) as service:
        meter = OnnxLatencyMeter(service, INPUT_FORM)
        with pytest.raises(TrialError) as caught:
            meter.submit(ARCHITECTURE).result(30)
        meter.close()
    assert (caught.value.failure.kind, caught.value.failure.message) == (kind, str(error))


def test_the_phone_gets_the_network_for_the_runs_input() -> None:
    phone = FailingPhone(PhoneError("phone_unstable", "as arranged"))
    with LatencyService(phone, retry=RetryPolicy(retries=0)) as service:
        meter = OnnxLatencyMeter(service, INPUT_FORM)
        meter.submit(ARCHITECTURE).exception(30)
        meter.close()
    shape = onnx.load_from_string(phone.models[0]).graph.input[0].type.tensor_type.shape
    assert [dimension.dim_value for dimension in shape.dim][1:] == [1, 16, 16]


def test_a_network_is_timed_on_the_host() -> None:
    phone = create_phone("host")
    with LatencyService(phone, retry=RetryPolicy(retries=12)) as service:
        meter = OnnxLatencyMeter(service, INPUT_FORM)
        result = meter.submit(ARCHITECTURE).result(300)
        meter.close()
    phone.close()
    assert result["latency_ms"] > 0
    assert LatencyRecord.from_dict({key: value for key, value in result.items() if key != "latency_ms"}).accepted
