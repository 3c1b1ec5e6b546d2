"""Connect to the phone at an address."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from latency.adb.address import Address
from latency.adb.connection import Connection
from latency.adb.device import AdbDevice
from latency.adb.direct import DirectConnection
from latency.adb.keys import load_keys
from latency.adb.server import connect_to_server


def ask_to_accept() -> None:
    """Log that the phone shows a prompt."""
    logging.getLogger(__name__).warning("unlock the phone and accept this computer's key; 'always allow' is best")


def connect(
    address: Address,
    *,
    keys: Sequence[Any] | None = None,
    on_prompt: Callable[[], None] = ask_to_accept,
    timeout_s: float = 10.0,
    authorize_timeout_s: float = 60.0,
) -> AdbDevice:
    """Connect to a phone.

    A phone that knows none of the keys shows a prompt to its user.

    Args:
        address: Where the phone is.
        keys: The keys to offer; those of `load_keys` if None.
        on_prompt: Called before the phone shows its prompt, to tell the user.
        timeout_s: Time for the greeting, without the prompt.
        authorize_timeout_s: Time for the user to accept the prompt.

    Raises:
        PhoneError: `phone_gone`, `timeout`, `phone_unauthorized`, `phone_offline`, `phone_busy`, `phone_no_permission`,
            `phone_mode`.
        ToolError: `adb_protocol`, `adb_keys`, `usb_unavailable`.
    """
    connection: Connection
    if address.via == "server":
        connection = connect_to_server(address.target, timeout_s)
    else:
        connection = _connect_directly(address, keys, on_prompt, timeout_s, authorize_timeout_s)
    return AdbDevice(connection, str(address))


def _connect_directly(
    address: Address,
    keys: Sequence[Any] | None,
    on_prompt: Callable[[], None],
    timeout_s: float,
    authorize_timeout_s: float,
) -> DirectConnection:
    from latency.adb.greeting import greet

    transport = _transport(address)
    max_payload = greet(
        transport,
        str(address),
        keys=load_keys() if keys is None else keys,
        on_prompt=on_prompt,
        timeout_s=timeout_s,
        authorize_timeout_s=authorize_timeout_s,
    )
    return DirectConnection(transport, str(address), max_payload)


def _transport(address: Address) -> Any:
    if address.via == "tcp":
        from latency.adb.tcp import TcpTransport

        return TcpTransport(*address.host_and_port)
    from latency.adb.usb import UsbTransport

    return UsbTransport(address.target)
