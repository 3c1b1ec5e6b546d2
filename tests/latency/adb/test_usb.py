"""What sysfs says about phones on USB, from trees of files like the kernel's; no phone was at hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from adb_shell.adb_message import AdbMessage
from adb_shell.exceptions import UsbReadFailedError, UsbWriteFailedError

from latency.adb.connection import Deadline
from latency.adb.direct import DirectConnection
from latency.adb.usb import UsbDevice, UsbTransport, find_usb_device, usb_devices, usb_targets
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


def test_two_phones_of_one_serial_are_told_by_their_ports(tmp_path: Path) -> None:
    plug_in(tmp_path, "1-1", "0123ABC")
    plug_in(tmp_path, "2-4.2", "0123ABC")
    devices = listed(tmp_path)
    assert list(usb_targets(devices)) == ["usb:1-1", "usb:2-4.2"]
    assert find_usb_device("usb:2-4.2", devices) == find_usb_device("2-4.2", devices) == devices[1]
    with pytest.raises(LatencyError, match=r"2 attached phones .*usb:1-1, usb:2-4\.2"):
        find_usb_device("0123ABC", devices)


class Endpoint:
    def __init__(self, address: int, packet_bytes: int) -> None:
        self.getAddress = lambda: address
        self.getMaxPacketSize = lambda: packet_bytes


class Recording:
    """adb-shell's transport: keeps each transfer; `most` bytes are taken at once."""

    _write_endpoint = 2

    def __init__(self, packet_bytes: int, most: int = 1 << 30) -> None:
        endpoints = [Endpoint(0x81, 8), Endpoint(2, packet_bytes)]
        self._setting = SimpleNamespace(iterEndpoints=lambda: iter(endpoints))
        self._most = most
        self.transfers: list[bytes] = []
        self.timeouts_s: list[float] = []

    def bulk_write(self, data: bytes, timeout_s: float) -> int:
        self.transfers.append(data[: self._most])
        self.timeouts_s.append(timeout_s)
        return len(self.transfers[-1])


def transfers_of(payload_bytes: int, packet_bytes: int, most: int = 1 << 30) -> list[int]:
    """The sizes of the transfers of one packet of adb, sent as every stream sends it."""
    recording = Recording(packet_bytes, most)
    transport = UsbTransport("0123ABC")
    transport.use(recording)
    connection = DirectConnection(transport, "usb:0123ABC", 1 << 20)
    connection.send(b"WRTE", 1, 7, b"x" * payload_bytes, Deadline.after(2, "send"))
    return [len(transfer) for transfer in recording.transfers]


@pytest.mark.parametrize("packet_bytes", [64, 512, 1024])
@pytest.mark.parametrize("packets", [1, 2, 7])
def test_a_payload_of_full_packets_is_followed_by_an_empty_one(packet_bytes: int, packets: int) -> None:
    assert transfers_of(packets * packet_bytes, packet_bytes) == [24, packets * packet_bytes, 0]


@pytest.mark.parametrize("packet_bytes", [64, 512, 1024])
@pytest.mark.parametrize("more", [-1, 1, 24])
def test_any_other_payload_is_not(packet_bytes: int, more: int) -> None:
    assert transfers_of(packet_bytes + more, packet_bytes) == [24, packet_bytes + more]


@pytest.mark.parametrize("packet_bytes", [8, 12, 24])
def test_a_header_is_never_followed_by_an_empty_packet(packet_bytes: int) -> None:
    assert transfers_of(0, packet_bytes) == [24]
    assert transfers_of(24, packet_bytes) == [24, 24, 0]


def test_a_payload_that_is_taken_in_parts_is_ended_once() -> None:
    assert transfers_of(1024, 512, most=512) == [24, 512, 512, 0]


def test_the_model_that_stalled_is_sent_whole() -> None:
    """100,344 bytes in the sync protocol: each DATA packet has 8 bytes more."""
    recording = Recording(512)
    transport = UsbTransport("0123ABC")
    transport.use(recording)
    connection = DirectConnection(transport, "usb:0123ABC", 1 << 20)
    for size in (24, 100_352, 16):
        connection.send(b"WRTE", 1, 7, b"x" * size, Deadline.after(2, "send"))
    assert [len(transfer) for transfer in recording.transfers] == [24, 24, 24, 100_352, 0, 24, 16]


@pytest.mark.parametrize(("packet_bytes", "transfers"), [(512, [24, 10]), (10, [24, 10, 0])])
def test_the_greeting_is_sent_by_the_same_rule(packet_bytes: int, transfers: list[int]) -> None:
    recording = Recording(packet_bytes)
    transport = UsbTransport("0123ABC")
    transport.use(recording)
    message = AdbMessage(b"CNXN", 1, 2, b"host::mnas")
    for data in (message.pack(), message.data):  # As adb-shell sends it.
        transport.bulk_write(data, 1.0)
    assert [len(transfer) for transfer in recording.transfers] == transfers


def test_a_time_that_is_nearly_over_is_not_taken_for_no_time_out() -> None:
    recording = Recording(512)
    transport = UsbTransport("0123ABC")
    transport.use(recording)
    transport.bulk_write(bytes(24), 1e-5)
    assert recording.timeouts_s == [0.001]


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
