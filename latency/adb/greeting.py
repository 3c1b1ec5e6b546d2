"""The greeting of a phone that is reached without an adb server, by adb-shell, within bounds of our own.

adb-shell does the greeting, the keys and the authorisation. It believes any packet size that the phone claims (4 GiB),
and each of its waits has a time-out of its own, so that a phone can stretch the whole. `BoundedTransport` stands
between adb-shell and the transport, and keeps both within bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adb_shell import adb_device, exceptions
from adb_shell.transport.base_transport import BaseTransport

from latency.adb.connection import Deadline
from latency.errors import LatencyError, PhoneError, PhoneTimeoutError, ToolError

# "shell_v2": standard error and exit status apart. The form is that of adb's own greeting.
_GREETING = "features=shell_v2"
_MAX_PIECE_BYTES = 1 << 16
_MAX_GREETING_BYTES = 1 << 20
"""The greeting of a real phone has some hundred bytes; one packet of adb has at most this many."""


def greet(
    transport: Any,
    name: str,
    *,
    keys: Sequence[Any],
    on_prompt: Callable[[], None],
    timeout_s: float,
    authorize_timeout_s: float,
) -> int:
    """Connect a transport and greet the phone behind it.

    Args:
        transport: The transport, which is closed if the greeting fails.
        name: The phone's name, for errors.
        keys: The keys to offer.
        on_prompt: Called before the phone shows its prompt.
        timeout_s: Time for the greeting, without the prompt.
        authorize_timeout_s: Time for the user to accept the prompt.

    Returns:
        The bytes that the phone takes in one packet.

    Raises:
        PhoneError: `phone_gone`, `timeout`, `phone_unauthorized`, `phone_busy`, `phone_no_permission`.
        ToolError: `adb_protocol`, `usb_unavailable`.
    """
    bounded = BoundedTransport(transport, Deadline.after(timeout_s, f"{name}: greet"))
    prompted = False

    def prompt(_: object) -> None:
        nonlocal prompted
        on_prompt()
        prompted = True
        bounded.deadline = Deadline.after(authorize_timeout_s, f"{name}: accept the key")

    greeter = adb_device.AdbDevice(bounded, banner=_GREETING)
    try:
        greeter.connect(
            rsa_keys=list(keys),
            transport_timeout_s=timeout_s,
            read_timeout_s=max(timeout_s, authorize_timeout_s),
            auth_timeout_s=authorize_timeout_s,
            auth_callback=prompt,
        )
    except BaseException as error:
        transport.close()
        if isinstance(error, LatencyError) and prompted:
            raise PhoneError(
                "phone_unauthorized",
                f"{name}: this computer's key was not accepted within {authorize_timeout_s:g} s; "
                "unlock the phone, connect again and accept the prompt",
            ) from error
        if (ours := _our_error(error, name)) is None:
            raise
        raise ours from error
    return int(greeter.max_chunk_size)


def _our_error(error: BaseException, name: str) -> LatencyError | None:
    if isinstance(error, LatencyError):  # The transport's, or the callback's.
        text = str(error)
        return error.with_message(text if text.startswith(f"{name}: ") else f"{name}: {text}")
    if isinstance(error, exceptions.DeviceAuthError):
        return PhoneError("phone_unauthorized", f"{name}: the phone wants a key and there is none")
    if isinstance(error, exceptions.InvalidCommandError):
        hint = (
            "it speaks TLS (wireless debugging): pair it with the adb of this host and use server:SERIAL, "
            "or switch to plain TCP with adb tcpip 5555"
            if "STLS" in str(error)
            else "is it adbd that listens there?"
        )
        return ToolError("adb_protocol", f"{name}: the greeting was not understood; {hint}")
    if isinstance(error, exceptions.AdbTimeoutError):
        return PhoneTimeoutError(f"{name}: the greeting was not done in time")
    # ValueError: a token that no key can sign.
    if isinstance(error, exceptions.InvalidResponseError | exceptions.InvalidChecksumError | ValueError):
        return ToolError("adb_protocol", f"{name}: the greeting went wrong: {str(error)[:200]}; is it adbd?")
    return None


class BoundedTransport(BaseTransport):  # type: ignore[misc]  # adb-shell has no types.
    """A transport as adb-shell sees it: every read is small, all of them together are, and all end by the deadline.

    Attributes:
        deadline: When the greeting must be done.
    """

    def __init__(self, transport: Any, deadline: Deadline) -> None:
        self._transport = transport
        self.deadline = deadline
        self._received = 0

    def connect(self, transport_timeout_s: float) -> None:
        """Connect within that many seconds."""
        self._transport.connect(min(transport_timeout_s, self.deadline.remaining_s()))

    def bulk_read(self, numbytes: int, transport_timeout_s: float) -> bytes:
        """Return at least one byte; refuse a size that no greeting has.

        Raises:
            ToolError: `adb_protocol`: the phone claims or sends too much.
            PhoneError: `timeout`, and the transport's.
        """
        del transport_timeout_s
        if numbytes > _MAX_GREETING_BYTES or self._received > _MAX_GREETING_BYTES:
            raise ToolError(
                "adb_protocol",
                f"what answers sends more than a greeting's {_MAX_GREETING_BYTES} bytes; is it adbd?",
            )
        try:
            data: bytes = self._transport.bulk_read(min(numbytes, _MAX_PIECE_BYTES), self.deadline.remaining_s())
        except PhoneTimeoutError as error:
            raise self.deadline.missed() from error
        self._received += len(data)
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float) -> int:
        """Send all of `data`; return its length."""
        del transport_timeout_s
        try:
            return int(self._transport.bulk_write(data, self.deadline.remaining_s()))
        except PhoneTimeoutError as error:
            raise self.deadline.missed() from error

    def close(self) -> None:
        """Close the transport."""
        self._transport.close()
