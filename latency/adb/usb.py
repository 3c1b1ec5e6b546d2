"""adb over USB: the attached phones, and a transport for adb-shell.

The list of phones is read from sysfs, without touching them.

Talking to a phone needs libusb (Debian's libusb-1.0-0) and PyPI's libusb1; listing phones does not.
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adb_shell.transport.base_transport import BaseTransport

from latency.errors import LatencyError, PhoneError, PhoneGoneError, PhoneTimeoutError, ToolError

SYSFS = Path("/sys/bus/usb/devices")
DEVICE_FILES = Path("/dev/bus/usb")

_PORT = "usb:"  # As an adb server writes it in its list.
_HEADER = struct.Struct("<6I")  # Of a packet; the fourth word is the length of its payload.

_PORT_NAME = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*")
_ADB_INTERFACE = ("ff", "42", "01")  # Class, subclass, protocol.


@dataclass(frozen=True)
class UsbDevice:
    """A USB device with an adb interface.

    Attributes:
        serial: Serial number.
        model: Product name, None if it has none.
        port_path: The bus and the ports that lead to it.
        claimed: Whether a program, as a rule an adb server, has the interface.
        accessible: Whether this user may open it.
    """

    serial: str
    model: str | None
    port_path: tuple[int, ...]
    claimed: bool
    accessible: bool

    @property
    def port(self) -> str:
        """The bus and the ports as an adb server writes them: `usb:1-4.2`."""
        bus, *ports = self.port_path
        return f"{_PORT}{bus}-{'.'.join(map(str, ports))}"


def usb_devices(sysfs: Path = SYSFS, device_files: Path = DEVICE_FILES) -> list[UsbDevice]:
    """Return the phones that are attached to this host with USB debugging on."""
    found = []
    for interface in sorted(sysfs.glob("*:*")):
        kind = tuple(
            _read(interface / name) for name in ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
        )
        name = interface.name.partition(":")[0]  # "1-4.2:1.0" is an interface of "1-4.2": bus 1, port 4, port 2.
        serial = _read(sysfs / name / "serial")
        if kind != _ADB_INTERFACE or serial is None:
            continue
        bus, device = _read(sysfs / name / "busnum"), _read(sysfs / name / "devnum")
        if bus is None or device is None or not _PORT_NAME.fullmatch(name):
            continue  # It was unplugged meanwhile.
        driver = interface / "driver"
        found.append(
            UsbDevice(
                serial=serial,
                model=_read(sysfs / name / "product"),
                port_path=tuple(int(part) for part in name.replace("-", ".").split(".")),
                claimed=driver.exists() and driver.resolve().name == "usbfs",  # The kernel's name for "a program".
                accessible=os.access(device_files / f"{int(bus):03d}" / f"{int(device):03d}", os.R_OK | os.W_OK),
            )
        )
    return found


def usb_targets(devices: Sequence[UsbDevice]) -> dict[str, UsbDevice]:
    """Return the phones by the target of their address: the serial number, or the port if several have that number."""
    counts = Counter(device.serial for device in devices)
    return {device.serial if counts[device.serial] == 1 else device.port: device for device in devices}


def find_usb_device(target: str, devices: Sequence[UsbDevice]) -> UsbDevice:
    """Return the attached phone of this serial number, or at this port (`usb:1-4`, or `1-4`).

    Raises:
        PhoneError: `phone_gone` (also if several phones have the serial number), `phone_busy`, `phone_no_permission`.
    """
    port = target if target.startswith(_PORT) else f"{_PORT}{target}"
    found = [device for device in devices if device.serial == target or device.port == port]
    if len(found) > 1:
        ports = ", ".join(device.port for device in found)
        raise PhoneGoneError(f"{len(found)} attached phones have this serial number; name one by its port: {ports}")
    if found:
        [device] = found
        if device.claimed:
            raise _owned(device.serial)
        if not device.accessible:
            raise _no_permission()
        return device
    attached = ", ".join(usb_targets(devices)) or "none"
    raise PhoneGoneError(
        f"not attached (attached with USB debugging on: {attached}); check the cable, and the "
        "developer options of the phone",
    )


class UsbTransport(BaseTransport):  # type: ignore[misc]  # adb-shell has no types.
    """adb-shell's USB transport with our errors, and with the zero-length packets that adb-shell does not send.

    A phone knows the end of a transfer by a packet that is not full. A payload that ends with a full packet is
    therefore followed by an empty one; a header never is, since the phone reads exactly its 24 bytes.

    Every method raises PhoneError or ToolError. The messages do not name the phone; the caller adds its name.

    Args:
        target: The phone's serial number or port; see `find_usb_device`.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._transport: Any = None
        self._packet_bytes = 0  # Of the endpoint that is written to: 512 on USB 2, 1024 on USB 3, 64 on USB 1.
        self._payload_bytes = 0  # Of the packet whose header was written last, as long as its payload is to come.

    def connect(self, transport_timeout_s: float) -> None:
        """Open the phone and claim its adb interface."""
        try:
            from adb_shell.transport import usb_transport
        except (ImportError, OSError) as error:
            raise ToolError(
                "usb_unavailable",
                f"USB needs libusb ({error}): pip install libusb1, and the system's libusb-1.0 "
                "(apt install libusb-1.0-0); or use the phone through an adb server or TCP",
            ) from error
        from adb_shell.exceptions import UsbDeviceNotFoundError

        device = find_usb_device(self._target, usb_devices())
        try:
            transport = usb_transport.UsbTransport.find_adb(port_path=list(device.port_path))
            transport.connect(transport_timeout_s)
        except (usb_transport.usb1.USBError, UsbDeviceNotFoundError) as error:
            raise self._error(error) from error
        self.use(transport)

    def use(self, transport: Any) -> None:
        """Read from and write to a connected transport of adb-shell."""
        self._transport = transport
        self._packet_bytes = _written_packet_bytes(transport)
        self._payload_bytes = 0

    def bulk_read(self, numbytes: int, transport_timeout_s: float) -> bytes:
        """Return at most `numbytes` bytes."""
        from adb_shell.exceptions import UsbReadFailedError

        try:
            return bytes(self._connected().bulk_read(numbytes, _libusb_timeout_s(transport_timeout_s)))
        except UsbReadFailedError as error:
            raise self._error(error.usb_error) from error

    def bulk_write(self, data: bytes, transport_timeout_s: float) -> int:
        """Send all of `data`, a header or the payload that follows it; return its length."""
        from adb_shell.exceptions import UsbWriteFailedError

        sent = 0
        try:
            while sent < len(data):
                sent += self._connected().bulk_write(data[sent:], _libusb_timeout_s(transport_timeout_s))
            if self._payload_bytes == 0:
                self._payload_bytes = _HEADER.unpack(data)[3]
                return sent
            self._payload_bytes = 0
            if sent % self._packet_bytes == 0:
                self._connected().bulk_write(b"", _libusb_timeout_s(transport_timeout_s))
        except UsbWriteFailedError as error:
            raise self._error(error.args[-1]) from error
        return sent

    def close(self) -> None:
        """Release the phone; closing twice is allowed."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _connected(self) -> Any:
        if self._transport is None:
            raise PhoneGoneError("the connection is closed; connect again")
        return self._transport

    def _error(self, error: object) -> LatencyError:
        """Return the error for one of libusb's.

        They are told apart by name, since libusb may be missing.
        """
        name = type(error).__name__
        if name == "USBErrorBusy":
            return _owned(self._target)
        if name == "USBErrorAccess":
            return _no_permission()
        if name == "USBErrorTimeout":
            return PhoneTimeoutError("no answer in time")
        return PhoneGoneError(f"the connection is lost ({error!r}); check the cable")


def _written_packet_bytes(transport: Any) -> int:
    """Return the packet size of the endpoint that adb-shell's transport writes to."""
    for endpoint in transport._setting.iterEndpoints():
        if endpoint.getAddress() == transport._write_endpoint:
            return int(endpoint.getMaxPacketSize())
    raise ToolError("usb_unavailable", "the phone's adb interface has no endpoint to write to; plug it in again")


def _libusb_timeout_s(timeout_s: float) -> float:
    """Return the time-out for libusb, which counts in ms and takes 0 for no time-out at all."""
    return max(timeout_s, 0.001)


def _owned(serial: str) -> PhoneError:
    return PhoneError(
        "phone_busy",
        f"an adb server on this host owns it: use server:{serial}, or end that server (adb kill-server) "
        "if nobody needs it",
    )


def _no_permission() -> PhoneError:
    return PhoneError(
        "phone_no_permission",
        "this user may not open it: install Debian's android-sdk-platform-tools-common (its udev "
        "rules), join the group plugdev, and plug the phone in again",
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
