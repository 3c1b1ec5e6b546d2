"""Phones by name: `host`, and those that were added with `mnas phones add`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from latency.errors import PhoneUnknownError
from latency.host.phone import HostPhone
from latency.host.quiet import Quiet
from latency.leases.between_processes import PhoneLeases
from latency.measurement.input_shapes import Shapes
from latency.measurement.protocol import MeasurementSettings
from latency.phone import PhoneBackend


def create_phones(name: str, quiet: Quiet = nullcontext, leases: PhoneLeases | None = None) -> list[PhoneBackend]:
    """Return the phones of a name, which are equal; the caller closes them.

    Nothing is connected yet.

    Args:
        name: `host` for this machine, `host:0` for its core 0, or the name of a profile, whose units become one phone
            each.
        quiet: Makes the context in which a window is timed on this machine; see `HostPhone`.
        leases: The leases between processes; those of this user if None. Closing them ends all waiting for a turn.

    Raises:
        PhoneUnknownError: No phone has that name.
        ProfileError: The profile cannot be used.
    """
    if name == "host" or name.startswith("host:"):
        return [HostPhone(name, _host_core(name), quiet, leases)]
    # Imported here: it loads the adb library, which measuring on the host does not need.
    from latency.android.phone import AdbPhone
    from latency.android.profile import read_profile

    profile = read_profile(name)
    return [AdbPhone(profile, unit, quiet, leases) for unit in profile.units]


def phone_settings(name: str, changes: Mapping[str, int | float]) -> MeasurementSettings:
    """Return the measurement protocol of the phone of that name, with changes.

    Raises:
        PhoneUnknownError: No phone has that name.
        ProfileError: The profile cannot be used.
        ValueError: A change is out of its range.
        TypeError: A change names no field.
    """
    if name == "host" or name.startswith("host:"):
        values: dict[str, Any] = dict(changes)  # The dataclass checks which of them are whole numbers.
        return MeasurementSettings(**values)
    from latency.android.profile import read_profile

    return read_profile(name).settings(changes)


def phone_shapes(name: str) -> Shapes:
    """Return the input shapes of the phone's profile, by name; the host has none.

    Raises:
        PhoneUnknownError: No phone has that name.
        ProfileError: The profile cannot be used.
    """
    if name == "host" or name.startswith("host:"):
        return {}
    from latency.android.profile import read_profile

    return read_profile(name).shapes


def _host_core(name: str) -> int | None:
    _, colon, core = name.partition(":")
    if not colon:
        return None
    if not core.isdigit():
        raise PhoneUnknownError(f"{name!r}: write host:CORE with the number of a core, or host")
    return int(core)
