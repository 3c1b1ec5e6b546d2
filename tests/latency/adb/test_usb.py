"""What sysfs says about phones on USB, from trees of files like the kernel's; no phone was at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from adb_shell.exceptions import UsbReadFailedError, UsbWriteFailedError

from latency.adb.usb import UsbDevice, UsbTransport, find_usb_device, usb_devices
from latency.errors import LatencyError


def plug_in(
    folder: Path,
    name: str,
    serial: str,
    *,
    interface: tuple[str, str, str] = ("ff", "42", "01"),
    driver: str | None = None,
) -> None:
    device = folder / "sys" / name
    at = folder / "sys" / f"{name}:1.1"
    device.mkdir(parents=True)
    at.mkdir()
    files = {"serial": serial, "product": "Pixel 9", "busnum": "1", "devnum": "12"}
    for file, text in files.items():
        (device / file).write_text(text + "\n")
    for file, text in zip(("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"), interface, strict=True):
        (at / file).write_text(text + "\n")
    if driver:
        (folder / driver).mkdir()
        (at / "driver").symlink_to(folder / driver)
    (folder / "dev" / "001").mkdir(parents=True, exist_ok=True)
    (folder / "dev" / "001" / "012").touch()


def listed(folder: Path) -> list[UsbDevice]:
    return usb_devices(folder / "sys", folder / "dev")


def test_a_phone_is_listed_with_its_port(tmp_path: Path) -> None:
    plug_in(tmp_path, "1-4.2", "0123ABC")
    assert listed(tmp_path) == [UsbDevice("0123ABC", "Pixel 9", (1, 4, 2), claimed=False, accessible=True)]


def test_other_devices_are_not_phones(tmp_path: Path) -> None:
    plug_in(tmp_path, "1-1", "KEYBOARD", interface=("03", "01", "01"))
    assert listed(tmp_path) == []


def test_a_host_without_usb_has_no_phones(tmp_path: Path) -> None:
    assert listed(tmp_path) == []


def test_an_interface_that_a_program_holds_is_busy(tmp_path: Path) -> None:
    plug_in(tmp_path, "1-1", "0123ABC", driver="usbfs")
    with pytest.raises(LatencyError, match="server:0123ABC") as caught:
        find_usb_device("0123ABC", listed(tmp_path))
    assert caught.value.kind == "phone_busy"


def test_a_phone_that_may_not_be_opened_asks_for_udev_rules() -> None:
    device = UsbDevice("0123ABC", None, (1, 1), claimed=False, accessible=False)
    with pytest.raises(LatencyError, match="udev") as caught:
        find_usb_device("0123ABC", [device])
    assert caught.value.kind == "phone_no_permission"


def test_a_phone_that_is_not_attached_is_gone_and_the_others_are_named() -> None:
    device = UsbDevice("OTHER", None, (1, 1), claimed=False, accessible=True)
    with pytest.raises(LatencyError, match="OTHER") as caught:
        find_usb_device("0123ABC", [device])
    assert caught.value.kind == "phone_gone"


def test_connecting_ends_with_an_error_of_ours_with_or_without_libusb() -> None:
    with pytest.raises(LatencyError) as caught:
        UsbTransport("no-such-serial").connect(1.0)
    assert caught.value.kind in {"usb_unavailable", "phone_gone"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("USBErrorTimeout", "timeout"),
        ("USBErrorNoDevice", "phone_gone"),
        ("USBErrorBusy", "phone_busy"),
        ("USBErrorAccess", "phone_no_permission"),
    ],
)
def test_libusbs_errors_have_kinds(name: str, kind: str) -> None:
    usb1 = pytest.importorskip("usb1", reason="needs PyPI's libusb1")

    class Failing:
        """adb-shell's transport, at the moment at which libusb fails."""

        def bulk_read(self, numbytes: int, timeout_s: float) -> bytes:
            raise UsbReadFailedError("no data", getattr(usb1, name)())

        def bulk_write(self, data: bytes, timeout_s: float) -> int:
            raise UsbWriteFailedError("not sent", getattr(usb1, name)())

    transport = UsbTransport("0123ABC")
    transport._transport = Failing()
    for call in (lambda: transport.bulk_read(24, 1.0), lambda: transport.bulk_write(b"x", 1.0)):
        with pytest.raises(LatencyError) as caught:
            call()
        assert caught.value.kind == kind
