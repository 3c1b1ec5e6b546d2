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
from latency.errors import LatencyError, PhoneError, ToolError

# "shell_v2": standard error and exit status apart. The form is that of adb's own greeting.
_GREETING = "features=shell_v2"


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
        timeout_s: Time for each step of the greeting.
        authorize_timeout_s: Time for the user to accept the prompt.

    Raises:
        PhoneError: `phone_gone`, `timeout`, `phone_unauthorized`, `phone_offline`, `phone_busy`, `phone_no_permission`.
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
    from adb_shell import adb_device, exceptions

    transport = _transport(address)
    prompted = False

    def prompt(_: object) -> None:
        nonlocal prompted
        on_prompt()
        prompted = True

    greeter = adb_device.AdbDevice(transport, banner=_GREETING)
    try:
        greeter.connect(
            rsa_keys=load_keys() if keys is None else list(keys),
            transport_timeout_s=timeout_s,
            read_timeout_s=timeout_s,
            auth_timeout_s=authorize_timeout_s,
            auth_callback=prompt,
        )
    except LatencyError as error:  # The transport's, or the callback's.
        transport.close()
        if not prompted:
            raise error.with_message(f"{address}: {error}") from error
        raise PhoneError(
            "phone_unauthorized",
            f"{address}: this computer's key was not accepted within {authorize_timeout_s:g} s; "
            "unlock the phone, connect again and accept the prompt",
        ) from error
    except exceptions.DeviceAuthError as error:
        transport.close()
        raise PhoneError("phone_unauthorized", f"{address}: the phone wants a key and there is none") from error
    except exceptions.InvalidCommandError as error:
        transport.close()
        hint = (
            "it speaks TLS (wireless debugging): pair it with the adb of this host and use server:SERIAL, "
            "or switch to plain TCP with adb tcpip 5555"
            if "STLS" in str(error)
            else "is it adbd that listens there?"
        )
        raise ToolError("adb_protocol", f"{address}: the greeting was not understood; {hint}") from error
    except (exceptions.InvalidResponseError, exceptions.InvalidChecksumError, exceptions.AdbTimeoutError) as error:
        transport.close()
        raise ToolError("adb_protocol", f"{address}: the greeting went wrong: {error}") from error
    except BaseException:
        transport.close()
        raise
    return DirectConnection(transport, str(address), greeter.max_chunk_size)


def _transport(address: Address) -> Any:
    if address.via == "tcp":
        from latency.adb.tcp import TcpTransport

        return TcpTransport(*address.host_and_port)
    from latency.adb.usb import UsbTransport

    return UsbTransport(address.target)
