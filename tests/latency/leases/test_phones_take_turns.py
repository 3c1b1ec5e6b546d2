"""How each kind of phone is leased: in turns between processes, before a phone on USB is opened at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from latency.adb import AdbDevice, Address, connect
from latency.android.phone import AdbPhone
from latency.errors import PhoneError
from latency.host.phone import HostPhone
from latency.leases.between_processes import PhoneLeases
from latency.loopback import Adbd
from latency.loopback.phone import phone_profile
from latency.measurement.protocol import MeasurementSettings
from latency.phone import PhoneBackend


class AtWork:
    """A quiet context that counts how many phones are timed at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    @contextmanager
    def quiet(self) -> Iterator[None]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield
        finally:
            self.now -= 1


def measure_at_once(phones: list[PhoneBackend], model: bytes, settings: MeasurementSettings) -> list[bool]:
    try:
        with ThreadPoolExecutor(len(phones)) as threads:
            records = list(threads.map(lambda phone: phone.measure(model, settings), phones))
    finally:
        for phone in phones:
            phone.close()
    return [record.accepted for record in records]


def test_the_cores_of_the_host_take_turns(tmp_path: Path, tiny_model: bytes, tolerant: MeasurementSettings) -> None:
    at_work = AtWork()
    cores = sorted(os.sched_getaffinity(0))
    phones: list[PhoneBackend] = [
        HostPhone(f"host:{core}", core, at_work.quiet, PhoneLeases(tmp_path)) for core in [*cores, cores[0]]
    ]
    assert all(measure_at_once(phones, tiny_model, replace(tolerant, rewarm_min_ms=50.0)))
    assert at_work.most == 1


def test_two_searches_take_turns_on_a_phone_over_adb(
    adbd: Adbd, tmp_path: Path, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    at_work = AtWork()
    phones: list[PhoneBackend] = [
        AdbPhone(*phone_profile(adbd), quiet=at_work.quiet, leases=PhoneLeases(tmp_path)) for _ in range(3)
    ]
    assert all(measure_at_once(phones, tiny_model, replace(tolerant, rewarm_min_ms=50.0)))
    assert at_work.most == 1


class UsbClaim:
    """Connects as over USB: one connection at a time, and another is refused."""

    def __init__(self, adbd: Adbd) -> None:
        self._adbd = adbd
        self._open: list[AdbDevice] = []
        self._lock = threading.Lock()
        self.refused = 0

    @property
    def claimed(self) -> bool:
        return any(not device.closed for device in self._open)

    def connect(self, address: Address) -> AdbDevice:
        assert address == Address("usb", "1A2B")
        with self._lock:
            if self.claimed:
                self.refused += 1
                raise PhoneError("phone_busy", "usb:1A2B: another process has it")
            self._open.append(connect(self._adbd.address, keys=[]))
            return self._open[-1]


@pytest.fixture
def claim(adbd: Adbd, monkeypatch: pytest.MonkeyPatch) -> UsbClaim:
    claim = UsbClaim(adbd)
    monkeypatch.setattr("latency.android.phone.connect", claim.connect)
    return claim


@pytest.fixture
def open_usb_phone(adbd: Adbd, claim: UsbClaim, tmp_path: Path) -> Callable[[], AdbPhone]:
    def open_phone() -> AdbPhone:
        profile, unit = phone_profile(adbd)
        unit = msgspec.structs.replace(unit, address="usb:1A2B")
        return AdbPhone(profile, unit, leases=PhoneLeases(tmp_path / "leases"))

    return open_phone


def test_a_phone_on_usb_is_opened_only_in_its_turn(
    open_usb_phone: Callable[[], AdbPhone], claim: UsbClaim, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    assert all(measure_at_once([open_usb_phone() for _ in range(3)], tiny_model, tolerant))
    assert claim.refused == 0


def test_a_phone_on_usb_is_free_between_measurements(
    open_usb_phone: Callable[[], AdbPhone], claim: UsbClaim, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    phone = open_usb_phone()
    phone.identify()
    assert not claim.claimed
    phone.measure(tiny_model, tolerant)
    assert not claim.claimed
    phone.close()


def test_closing_the_leases_ends_the_wait_for_another_host(adbd: Adbd, tmp_path: Path) -> None:
    leases = PhoneLeases(tmp_path)
    phone = AdbPhone(*phone_profile(adbd), leases=leases)
    (adbd.folder / "mnas").mkdir()
    uptime_s = int(float(Path("/proc/uptime").read_text().split()[0]))
    (adbd.folder / "mnas" / "lease").write_text(f"elsewhere/1/1 {uptime_s + 600}\n")
    threading.Timer(1.0, leases.close).start()
    with pytest.raises(PhoneError, match="elsewhere/1/1") as caught:
        phone.identify()
    phone.close()
    assert caught.value.kind == "phone_busy"


def test_other_connections_are_kept_between_measurements(
    adbd: Adbd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    connected = []

    def counted(address: Address) -> AdbDevice:
        connected.append(address)
        return connect(address, keys=[])

    monkeypatch.setattr("latency.android.phone.connect", counted)
    phone = AdbPhone(*phone_profile(adbd), leases=PhoneLeases(tmp_path))
    phone.identify()
    for _ in range(2):
        phone.measure(tiny_model, tolerant)
    phone.close()
    assert connected == [adbd.address]
