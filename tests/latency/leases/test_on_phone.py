from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latency.adb import AdbDevice, connect
from latency.errors import PhoneError
from latency.leases import on_phone as phone_lease
from latency.leases.on_phone import leased
from latency.loopback.adbd import Adbd


@pytest.fixture
def device(adbd: Adbd) -> Iterator[AdbDevice]:
    with connect(adbd.address) as device:
        yield device


@pytest.fixture
def folder(adbd: Adbd) -> str:
    return str(adbd.folder)


def own(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(phone_lease, "own_name", lambda: name)


def test_a_leased_phone_is_busy_for_others(
    device: AdbDevice, folder: str, adbd: Adbd, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(monkeypatch, "elsewhere/1/1")
    with leased(device, folder, duration_s=60, wait_s=0), connect(adbd.address) as second:
        own(monkeypatch, "here/2/2")
        with (
            pytest.raises(PhoneError, match="elsewhere/1/1") as caught,
            leased(second, folder, duration_s=60, wait_s=0),
        ):
            pass
    assert caught.value.kind == "phone_busy"


def test_a_lease_given_back_is_free(device: AdbDevice, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in ("elsewhere/1/1", "here/2/2"):
        own(monkeypatch, owner)
        with leased(device, folder, duration_s=60, wait_s=0):
            pass


def test_an_expired_lease_is_free(device: AdbDevice, folder: str, adbd: Adbd, monkeypatch: pytest.MonkeyPatch) -> None:
    (adbd.folder / "lease").write_text("elsewhere/1/1 0\n")
    with leased(device, folder, duration_s=60, wait_s=0):
        pass


def test_a_lease_is_waited_for(device: AdbDevice, folder: str, adbd: Adbd) -> None:
    (adbd.folder / "lease").write_text(f"elsewhere/1/1 {uptime_s() + 2}\n")
    with leased(device, folder, duration_s=60, wait_s=30):
        assert "elsewhere" not in (adbd.folder / "lease").read_text()


def test_the_lease_of_a_process_of_this_host_that_was_killed_is_taken_over(
    device: AdbDevice, folder: str, adbd: Adbd
) -> None:
    # Its own name, as it would have been written by a process that then died.
    program = "from latency.leases.on_phone import own_name; print(own_name())"
    dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    (adbd.folder / "lease").write_text(f"{dead} {uptime_s() + 600}\n")
    with leased(device, folder, duration_s=60, wait_s=0):
        pass


def test_of_many_who_come_at_once_each_has_it_alone(folder: str, adbd: Adbd, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [connect(adbd.address) for _ in range(8)]

    def take(number: int) -> bool:
        owner = f"elsewhere/{number}/1"
        return phone_lease._take(devices[number], folder, owner, 60, "-")[0] == owner

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(take, range(8)))
    for device in devices:
        device.close()
    assert sum(got) == 1


def test_a_lease_that_another_has_taken_meanwhile_cannot_be_renewed(
    device: AdbDevice, folder: str, adbd: Adbd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone_lease, "FRESH_S", 0)
    with leased(device, folder, duration_s=60, wait_s=0) as renew:
        (adbd.folder / "lease").write_text(f"elsewhere/1/1 {uptime_s() + 600}\n")
        with pytest.raises(PhoneError) as caught:
            renew(60)
    assert caught.value.kind == "phone_busy"


def uptime_s() -> int:
    return int(float(Path("/proc/uptime").read_text().split()[0]))


@pytest.mark.parametrize(
    ("seconds", "boot", "free"),
    [
        (600, "", False),  # As an older mnas wrote it.
        (600, Path("/proc/sys/kernel/random/boot_id").read_text().strip(), False),
        (600, "another-boot", True),
        (11 * 86_400, "", True),
    ],
    ids=["without a boot", "this boot", "an earlier boot", "longer than any lease"],
)
def test_a_lease_of_another_owner_counts_in_its_boot_and_within_bounds(
    device: AdbDevice, folder: str, adbd: Adbd, seconds: int, boot: str, free: bool
) -> None:
    (adbd.folder / "lease").write_text(f"elsewhere/1/1/place {uptime_s() + seconds} {boot}\n")
    holder, _ = phone_lease._take(device, folder, "here/2/2/place", 60, "-")
    assert (holder == "here/2/2/place") == free


def test_no_lease_is_longer_than_the_longest(device: AdbDevice, folder: str, adbd: Adbd) -> None:
    phone_lease._take(device, folder, "here/2/2/place", 1e6, "-")
    _, until, boot = (adbd.folder / "lease").read_text().split()
    assert int(until) <= uptime_s() + phone_lease.MAX_LEASE_S
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
