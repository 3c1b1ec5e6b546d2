"""What an Android phone does beyond the contract of all phones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import msgspec
import pytest

from latency.adb import connect
from latency.android.phone import AdbPhone, install_runner
from latency.android.runner_session import PhoneRunner
from latency.errors import CandidateError, PhoneError
from latency.loopback.adbd import Adbd
from latency.loopback.phone import phone_profile
from latency.measurement.protocol import MeasurementSettings
from latency.pool.health import RetryPolicy
from latency.pool.service import LatencyService

# Written at each connection: the reference network, and the mark of the last use.
FRESH = ("reference.onnx", "used")


def test_the_runtime_is_pushed_once(phone: AdbPhone, adbd: Adbd) -> None:
    phone.identify()
    (folder,) = (adbd.folder / "mnas").glob("runtime-*")
    pushed = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name not in FRESH}
    phone.close()
    phone.identify()
    assert {name: (folder / name).stat().st_mtime_ns for name in pushed} == pushed


def test_a_file_that_was_changed_on_the_phone_is_pushed_again(phone: AdbPhone, adbd: Adbd) -> None:
    phone.identify()
    (library,) = (adbd.folder / "mnas").glob("runtime-*/libm.so*")
    content = library.read_bytes()
    library.write_bytes(content[:-1])
    phone.close()
    phone.identify()
    assert library.read_bytes() == content


def test_the_next_contact_tidies_what_a_killed_run_has_left(phone: AdbPhone, adbd: Adbd) -> None:
    folder = adbd.folder / "mnas"
    (folder / "runtime-old").mkdir(parents=True)
    (folder / "model-0123456789abcdef.onnx").touch()
    phone.identify()
    assert not (folder / "runtime-old").exists()
    assert not list(folder.glob("model-*"))


@pytest.mark.parametrize("model_name", ["tiny_model", "failing_run_model"])
def test_no_model_stays_on_the_phone(
    phone: AdbPhone, adbd: Adbd, tolerant: MeasurementSettings, model_name: str, request: pytest.FixtureRequest
) -> None:
    try:
        phone.measure(request.getfixturevalue(model_name), tolerant)
    except CandidateError:
        assert model_name == "failing_run_model"
    assert not list((adbd.folder / "mnas").glob("model-*"))


def test_the_latency_is_scaled_to_the_first_device(
    adbd: Adbd, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    profile, device = phone_profile(adbd)
    phone = AdbPhone(profile, msgspec.structs.replace(device, scale=2.0))
    record = phone.measure(tiny_model, tolerant)
    phone.close()
    assert record.latency_ms == pytest.approx(2.0 * record.sessions[0].window.latency_ms)


def test_a_phone_slower_than_when_it_was_added_gives_no_latency(
    adbd: Adbd, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    phone = AdbPhone(*phone_profile(adbd, reference_ms=1e-6))
    with pytest.raises(PhoneError, match="slower than at its best") as caught:
        phone.measure(tiny_model, replace(tolerant, drift_limit=0.03, max_attempts=2))
    phone.close()
    assert caught.value.kind == "phone_unstable"


def test_of_two_phones_one_slow_when_added_and_one_throttled_later_neither_gives_a_number(
    start_adbd: Callable[[], Adbd], tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    honest = replace(tolerant, drift_limit=0.03, faster_limit=0.05, max_attempts=2, reference_runs=5)
    with ExitStack() as stack:
        phones = []
        for adbd, factor in zip((start_adbd(), start_adbd()), (4.0, 0.25), strict=True):
            profile, unit = phone_profile(adbd)
            with connect(adbd.address) as device:
                runner = install_runner(device, profile, lambda name: None)
                assert isinstance(runner, PhoneRunner)
                best_ms = runner.best_of_reference(tolerant)
            # Its speed changes by this factor after it was added.
            phones.append(AdbPhone(profile, msgspec.structs.replace(unit, reference_ms=factor * best_ms)))
            stack.callback(phones[-1].close)
        policy = RetryPolicy(retries=1, first_delay_s=0.0, quarantine_after=1, patience_s=0.0)
        with LatencyService(phones, honest, retry=policy) as service:
            with pytest.raises(PhoneError):
                service.submit(tiny_model).result(60)
            errors = [str(status.last_error) for status in service.status()]
    assert "was added while slow" in errors[0]
    assert "slower than at its best" in errors[1]


def test_a_core_that_the_phone_does_not_have_is_named(adbd: Adbd, tiny_model: bytes) -> None:
    profile, device = phone_profile(adbd)
    phone = AdbPhone(msgspec.structs.replace(profile, core=4000), device)
    with pytest.raises(PhoneError, match="core 4000 is not one of") as caught:
        phone.identify()
    phone.close()
    assert caught.value.kind == "core_unavailable"


@pytest.mark.parametrize("shares", [True, False])
def test_only_a_phone_that_shares_this_machine_needs_it_quiet(
    adbd: Adbd, tiny_model: bytes, tolerant: MeasurementSettings, shares: bool
) -> None:
    asked = []

    @contextmanager
    def quiet() -> Iterator[None]:
        asked.append(True)
        yield

    profile, device = phone_profile(adbd)
    phone = AdbPhone(msgspec.structs.replace(profile, shares_this_machine=shares), device, quiet)
    phone.measure(tiny_model, tolerant)
    phone.close()
    assert bool(asked) == shares


def test_two_devices_of_a_profile_have_names_of_their_own(adbd: Adbd) -> None:
    profile, device = phone_profile(adbd)
    both = msgspec.structs.replace(profile, units=(device, msgspec.structs.replace(device, serial="other")))
    assert [AdbPhone(both, each).name for each in both.units] == [f"loopback/{device.serial}", "loopback/other"]
