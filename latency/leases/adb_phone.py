"""The two leases of an adb phone, always taken in the same order by one function.

An adb phone needs both, because neither does the work of the other:

- The lease between processes comes first, before the phone is connected. Over USB only one process can open a phone:
  opening it claims its adb interface. A lease that needs a connection would come too late. This lease is also fair
  (first come, first served) and costs no exchange with the phone. The lease on the phone is polled for: of two searches
  on one host, the one that has just measured would nearly always get the phone again.
- The lease on the phone keeps out other hosts, which reach it over the network, and other users of this host. A file
  in this user's folder tells them nothing.

The host as a phone is reached by processes of this machine only. It needs the first lease alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from latency.adb.device import AdbDevice
from latency.leases.between_processes import PhoneLeases
from latency.leases.on_phone import Renew, leased

ON_PHONE_WAIT_S = 600.0


@contextmanager
def hold_adb_phone(
    leases: PhoneLeases,
    serial: str,
    connection: Callable[[], AbstractContextManager[AdbDevice]],
    folder: str,
    duration_s: float,
) -> Iterator[tuple[AdbDevice, Renew]]:
    """Hold an adb phone alone for the length of the block.

    Args:
        leases: The leases between processes; closing them ends the waiting for both leases.
        serial: The phone's own serial number.
        connection: Makes the context in which the phone is connected; entered when no other process has the phone.
        folder: The folder on the phone, which exists once it is connected.
        duration_s: How long the lease on the phone lasts unless it is renewed.

    Yields:
        The connected phone, and what renews the lease on it.

    Raises:
        PhoneError: `phone_busy`: another process or host has the phone. `lease_lost`: after the block, if another
            process got it meanwhile. The kinds of the transport.
        ToolError: `lease_unusable`.
    """
    with (
        leases.hold(serial),
        connection() as device,
        leased(device, folder, duration_s=duration_s, wait_s=ON_PHONE_WAIT_S, pause=leases.pause) as renew,
    ):
        yield device, renew
