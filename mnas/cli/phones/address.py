"""From what a user types to a phone's address."""

from __future__ import annotations

from latency.adb import Address
from latency.adb.server import server_phones
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

    Args:
        serial: The serial number; or the port (`usb:1-4`) or transport id that `mnas phones list` shows, if several
            phones have one serial number.

    Raises:
        ConfigurationError: It cannot be a serial number, or several phones have it.
        PhoneError: `timeout`: the adb server does not answer.
    """
    phones = server_phones()
    targets = [phone.target for phone in phones if serial in (phone.device.serial, phone.target, phone.device.port)]
    if len(targets) > 1:
        raise ConfigurationError(
            f"--serial: {len(targets)} phones have the serial number {serial}; name one by its place, as in "
            f"--serial {targets[0]} (there are {', '.join(targets)})"
        )
    try:
        return Address.parse(f"server:{targets[0]}" if targets else f"usb:{serial}")
    except ValueError as error:
        raise ConfigurationError(f"--serial: {error}") from error
