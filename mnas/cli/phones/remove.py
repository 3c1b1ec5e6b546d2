"""`mnas phones remove NAME`."""

from __future__ import annotations

import argparse
import sys

from latency import user_leases
from latency.adb import Address, connect
from latency.android.installation import uninstall
from latency.android.profile import PhoneUnit, profile_path, read_profile
from latency.errors import LatencyError
from latency.leases.adb_phone import hold_adb_phone
from mnas.cli.errors import DONE
from mnas.cli.phones.waits import said_waits
from mnas.documents.foreign_text import printable

REMOVE_LEASE_S = 120.0


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "remove",
        help="forget a phone",
        description="Remove what was pushed to a phone, and forget it. A phone that cannot be reached is forgotten "
        "too; the files stay on it.",
        epilog="example: mnas phones remove pixel6",
    )
    parser.add_argument("name", metavar="NAME", help="a phone that was added")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    profile = read_profile(arguments.name)
    with said_waits() as waits:
        for unit in profile.units:
            waits.begin(f"removing it from {unit.serial}, after the measurement that another process may do on it")
            try:
                _uninstall(unit, profile.folder)
            except LatencyError as error:
                waits.over()
                if error.kind == "phone_busy":
                    raise  # To forget it would not end that measurement, and its files would stay.
                print(printable(f"mnas: {profile.folder} stays on {unit.serial}: {error}"), file=sys.stderr)
    profile_path(profile.name).unlink()
    print(f"phone {profile.name} is forgotten")
    return DONE


def _uninstall(unit: PhoneUnit, folder: str) -> None:
    """Remove what was pushed to a unit, when no other process measures on it."""
    address = Address.parse(unit.address)
    with hold_adb_phone(user_leases(), unit.serial, lambda: connect(address), folder, REMOVE_LEASE_S) as (device, _):
        uninstall(device, folder)
