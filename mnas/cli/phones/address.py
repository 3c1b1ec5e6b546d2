"""From what a user types to a phone's address."""

from __future__ import annotations

from latency.adb import Address
from latency.adb.server import server_devices
from mnas.errors import ConfigurationError


def tcp_address(text: str) -> Address:
    """Return the address of `--tcp HOST:PORT`.

    Raises:
        ConfigurationError: It is not an address.
    """
    try:
        return Address.parse(f"tcp:{text}")
    except ValueError as error:
        raise ConfigurationError(f"--tcp: {error}") from error


def serial_address(serial: str) -> Address:
    """Return the address of `--serial S`.

    It is reached through this host's adb server if that has the phone, else over USB.

    Raises:
        ConfigurationError: It cannot be a serial number.
    """
    via = "server" if any(device.serial == serial for device in server_devices()) else "usb"
    try:
        return Address.parse(f"{via}:{serial}")
    except ValueError as error:
        raise ConfigurationError(f"--serial: {error}") from error
