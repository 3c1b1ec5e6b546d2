"""`mnas phones remove NAME`."""

from __future__ import annotations

import argparse
import sys

from latency.adb import Address, connect
from latency.android.installation import uninstall
from latency.android.profile import profile_path, read_profile
from latency.errors import LatencyError
from mnas.cli.errors import DONE
from mnas.documents.foreign_text import printable


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
    for unit in profile.units:
        try:
            with connect(Address.parse(unit.address)) as device:
                uninstall(device, profile.folder)
        except LatencyError as error:
            print(printable(f"mnas: {profile.folder} stays on {unit.serial}: {error}"), file=sys.stderr)
    profile_path(profile.name).unlink()
    print(f"phone {profile.name} is forgotten")
    return DONE
