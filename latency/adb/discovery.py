"""Find the attached phones, and say what to do about those that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from latency.adb.address import Address
from latency.adb.connect import connect
from latency.adb.keys import load_keys
from latency.adb.server import ServerPhone, server_phones
from latency.adb.states import READY, AttachedState, state_and_remedy
from latency.adb.usb import usb_devices, usb_targets
from latency.errors import LatencyError, PhoneError

_KINDS: dict[str, AttachedState] = {
    "phone_unauthorized": "unauthorized",
    "phone_offline": "offline",
    "phone_no_permission": "no_permission",
    "phone_busy": "busy",
}
# A phone keeps its serial number and this boot's random id, however it is reached.
_WHO = """
getprop ro.product.model 2>/dev/null || echo
getprop ro.serialno 2>/dev/null || echo
cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo
"""
_MAX_NAME = 200
_MAX_PROBES = 32

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attached:
    """A phone that was found.

    Attributes:
        address: How it is reached.
        state: Whether it can be used, or why not.
        model: Its model, None if unknown.
        remedy: What is wrong and what helps; empty when it is ready.
        also: The other addresses at which the same phone answers (over a cable and over Wi-Fi, for example).
    """

    address: Address
    state: AttachedState
    model: str | None
    remedy: str
    also: tuple[Address, ...] = ()


@dataclass(frozen=True)
class _Answer:
    """What was found at an address, and who it is: serial number and boot, None if it does not say."""

    attached: Attached
    identity: tuple[str, str] | None = None


def discover(
    tcp: Sequence[Address] = (), *, keys: Sequence[Any] | None = None, timeout_s: float = 2.0
) -> list[Attached]:
    """Return the phones that are attached, each once.

    These are the phones of this host's adb server, those on USB that the server does not have, and those at the given
    TCP addresses. Each is connected to and asked who it is; none is made to show a prompt. A server that does not
    answer is logged, and the other phones are returned.

    Args:
        tcp: TCP addresses to look at.
        keys: The keys to offer; those of `load_keys` if None.
        timeout_s: Time for the server and, all at once, for each phone.

    Raises:
        ToolError: `adb_keys`.
    """
    at_server = _phones_of_server(timeout_s)
    models = {Address("server", phone.target): phone.device.model for phone in at_server if phone.device.state == READY}
    refused = [_refused(phone) for phone in at_server if phone.device.state != READY]
    # An old server names no ports: it may have any phone of a serial number that it knows.
    known_ports = {phone.device.port for phone in at_server}
    known_serials = {phone.device.serial for phone in at_server if phone.device.port is None}
    on_usb = [
        device for device in usb_devices() if device.port not in known_ports and device.serial not in known_serials
    ]
    models |= {Address("usb", target): device.model for target, device in usb_targets(on_usb).items()}
    models |= dict.fromkeys(tcp)
    if not models:
        return refused
    offered = load_keys() if keys is None else keys
    with ThreadPoolExecutor(max_workers=min(len(models), _MAX_PROBES)) as pool:
        answers = list(pool.map(lambda address: _probe(address, models[address], offered, timeout_s), models))
    return [*_each_once(answers), *refused]


def _phones_of_server(timeout_s: float) -> list[ServerPhone]:
    try:
        return server_phones(timeout_s)
    except LatencyError as error:
        _LOG.warning("%s", error)
        return []


def _refused(phone: ServerPhone) -> Attached:
    state, remedy = state_and_remedy(phone.device.state)
    return Attached(Address("server", phone.target), state, phone.device.model, remedy)


def _probe(address: Address, model: str | None, keys: Sequence[Any], timeout_s: float) -> _Answer:
    def refuse_prompt() -> None:
        raise PhoneError(
            "phone_unauthorized",
            "the phone does not know this computer yet: connect (mnas phones add) and accept the prompt",
        )

    try:
        with connect(address, keys=keys, on_prompt=refuse_prompt, timeout_s=timeout_s) as device:
            told = device.shell(["sh", "-c", _WHO], timeout_s).stdout
    except LatencyError as error:
        return _Answer(Attached(address, _KINDS.get(error.kind, "unreachable"), model, str(error)))
    named, serial, boot_id = [*(line.strip()[:_MAX_NAME] for line in told.splitlines()), "", "", ""][:3]
    return _Answer(Attached(address, "ready", named or model, ""), (serial, boot_id) if serial and boot_id else None)


def _each_once(answers: Iterable[_Answer]) -> list[Attached]:
    """Return the phones, the first address of each with the others in `also`: the server's, USB's, TCP's."""
    found: list[Attached] = []
    places: dict[tuple[str, str], int] = {}
    for answer in answers:
        place = None if answer.identity is None else places.setdefault(answer.identity, len(found))
        if place is None or place == len(found):
            found.append(answer.attached)
        else:
            found[place] = replace(found[place], also=(*found[place].also, answer.attached.address))
    return found
