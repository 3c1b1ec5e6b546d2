"""The address of a phone as text.

`tcp:192.168.1.7:5555`, `usb:SERIAL` or `server:SERIAL`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Via = Literal["tcp", "usb", "server"]

DEFAULT_PORT = 5555
"""The port that `adb tcpip` and most guides use."""

_PLACES = ("usb:", "transport_id:")
_FORMS = "tcp:HOST, tcp:HOST:PORT, usb:SERIAL or server:SERIAL"


@dataclass(frozen=True)
class Address:
    """One way to one phone.

    Attributes:
        via: How the phone is reached.
        target: HOST:PORT for tcp, an IPv6 address in brackets; else the serial number that `adb devices` shows. If
            several phones have one serial number: the port that `adb devices -l` shows (`server:usb:1-4`, `usb:1-4`),
            or the server's number of the phone (`server:transport_id:3`), which changes when it is plugged in again.
    """

    via: Via
    target: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address that `text` names; a missing TCP port is 5555.

        Raises:
            ValueError: The text is not an address.
        """
        via, colon, target = text.partition(":")
        if not colon or via not in get_args(Via):
            raise ValueError(f"the phone's address {text!r} must have one of the forms {_FORMS}")
        if via == "tcp":
            host, port = _host_and_port(target, text)
            return cls("tcp", f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        # Names of wireless debugging have spaces: adb-1A2B3C (2)._adb-tls-connect._tcp
        if not target or target != target.strip() or not target.isprintable():
            raise ValueError(f"the phone's address {text!r} needs a serial number, as {via}:SERIAL")
        return cls("usb" if via == "usb" else "server", target)

    @property
    def is_place(self) -> bool:
        """Whether it names a phone by its place (port or transport id), not by its serial number."""
        return self.via != "tcp" and self.target.startswith(_PLACES)

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Return host and port of a TCP address.

        Raises:
            ValueError: It is another kind of address.
        """
        if self.via != "tcp":
            raise ValueError(f"{self} has no port; only tcp addresses do")
        return _host_and_port(self.target, str(self))

    def __str__(self) -> str:
        return f"{self.via}:{self.target}"


def _host_and_port(target: str, text: str) -> tuple[str, int]:
    if target.startswith("["):
        host, bracket, rest = target[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"the phone's address {text!r} must be written tcp:[IPV6]:PORT")
        port_text = rest[1:] if rest else str(DEFAULT_PORT)
    elif target.count(":") > 1:
        raise ValueError(f"the IPv6 address in {text!r} must be in brackets, as tcp:[IPV6]:PORT")
    else:
        host, colon, port_text = target.partition(":")
        port_text = port_text if colon else str(DEFAULT_PORT)
    if not host or any(character.isspace() for character in host):
        raise ValueError(f"the phone's address {text!r} names no host; write tcp:HOST:PORT")
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) < 65536):
        raise ValueError(f"the port {port_text!r} in {text!r} must be a number from 1 to 65535")
    return host, int(port_text)
