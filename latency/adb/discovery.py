"""Find the attached phones, and say what to do about those that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from latency.adb.address import Address
from latency.adb.connect import connect
from latency.adb.keys import load_keys
from latency.adb.server import server_devices
from latency.adb.usb import usb_devices
from latency.errors import LatencyError, PhoneError

AttachedState = Literal["ready", "unauthorized", "offline", "no_permission", "busy", "unreachable"]

_STATES: dict[str, AttachedState] = {
    "phone_unauthorized": "unauthorized",
    "phone_offline": "offline",
    "phone_no_permission": "no_permission",
    "phone_busy": "busy",
}


@dataclass(frozen=True)
class Attached:
    """A phone that was found.

    Attributes:
        address: How it is reached.
        state: Whether it can be used, or why not.
        model: Its model, None if unknown.
        remedy: What is wrong and what helps; empty when it is ready.
    """

    address: Address
    state: AttachedState
    model: str | None
    remedy: str


def discover(
    tcp: Sequence[Address] = (), *, keys: Sequence[Any] | None = None, timeout_s: float = 2.0
) -> list[Attached]:
    """Return the phones that are attached.

    These are the phones of this host's adb server, those on USB that the server does not have, and those at the given
    TCP addresses. Each is connected to and asked for its model; none is made to show a prompt.

    Args:
        tcp: TCP addresses to look at.
        keys: The keys to offer; those of `load_keys` if None.
        timeout_s: Time for each phone.

    Raises:
        ToolError: `adb_keys`.
    """
    known = {device.serial: device.model for device in server_devices(timeout_s)}
    on_usb = {device.serial: device.model for device in usb_devices() if device.serial not in known}
    models = {Address("server", serial): model for serial, model in known.items()}
    models |= {Address("usb", serial): model for serial, model in on_usb.items()}
    models |= dict.fromkeys(tcp)
    if not models:
        return []
    if keys is None:
        keys = load_keys()
    with ThreadPoolExecutor(max_workers=len(models)) as pool:
        return list(pool.map(lambda address: _probe(address, models[address], keys, timeout_s), models))


def _probe(address: Address, model: str | None, keys: Sequence[Any], timeout_s: float) -> Attached:
    def refuse_prompt() -> None:
        raise PhoneError(
            "phone_unauthorized",
            "the phone does not know this computer yet: connect (mnas phones add) and accept the prompt",
        )

    try:
        with connect(address, keys=keys, on_prompt=refuse_prompt, timeout_s=timeout_s) as device:
            property_ = device.shell(["getprop", "ro.product.model"], timeout_s)
    except LatencyError as error:
        return Attached(address, _STATES.get(error.kind, "unreachable"), model, str(error))
    return Attached(address, "ready", property_.stdout.strip() or model, "")
