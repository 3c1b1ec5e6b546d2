"""`mnas phones add NAME`."""

from __future__ import annotations

import argparse
import time

import msgspec

from latency.android.onboarding import RUNTIMES, add_phone
from latency.android.profile import profile_path
from mnas.cli.errors import DONE
from mnas.cli.output import print_json
from mnas.cli.phones.address import serial_address, tcp_address
from mnas.cli.phones.settings import add_option, changes
from mnas.cli.phones.waits import said_waits
from mnas.documents.user_paths import user_path

_DESCRIPTION = """\
Add a phone under a name: authorise, look at it, push the runtime (once, about
32 MB), compare its output with this host's, find its best speed, and write its
profile. The same name with another phone of the same model adds that one as a
further unit; the same name with the same phone renews it.
"""
_EPILOG = """\
examples:
  mnas phones add pixel6 --serial 1A2B3C4D
  mnas phones add pixel6 --tcp 192.168.1.7:5555
"""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "add",
        help="add a phone",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="what to call it")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--serial", help="serial number or port, as `mnas phones list` shows it")
    where.add_argument("--tcp", metavar="HOST:PORT", help="network address of its adb daemon")
    parser.add_argument("--core", type=int, help="core to time on (default: the fastest)")
    parser.add_argument("--folder", help="folder on the phone for the runtime (default: /data/local/tmp/mnas)")
    parser.add_argument(
        "--runtime",
        "--aar",
        metavar="bionic|glibc|FILE.aar",
        help="what the engine runs on: Android's own C library, the Linux wheel's, or an official Android build of "
        "ONNX Runtime that you have as a file (default: bionic if it works on the phone, else glibc)",
    )
    add_option(parser, "of this phone")
    parser.add_argument("--json", action="store_true", help="print the profile as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    path = profile_path(arguments.name)
    address = tcp_address(arguments.tcp) if arguments.tcp else serial_address(arguments.serial)
    started = time.monotonic()

    with said_waits() as waits:

        def say(text: str) -> None:
            waits.over()
            waits.say(f"{time.monotonic() - started:5.1f} s  {text}")
            if waits.console.is_terminal:
                waits.begin(text)

        added = add_phone(
            arguments.name,
            address,
            folder=arguments.folder,
            core=arguments.core,
            runtime=_runtime(arguments.runtime),
            measurement=changes(arguments.set),
            on_step=say,
        )
        say("done")
    profile = added.profile
    if arguments.json:
        print_json({"path": str(path), "repeatability": added.repeatability, "profile": msgspec.to_builtins(profile)})
        return DONE
    android = f"Android {profile.android}" if profile.android else "no Android"
    print(f"phone        {profile.name}: {profile.model}, {android}, {profile.abi}, core {profile.core}")
    print(f"device       {added.unit.serial}, one of {len(profile.units)}, scale {added.unit.scale:.3f}")
    print(f"sessions     within {added.repeatability:.1%} of one another")
    print(f"profile      {path}")
    print(f"next         mnas phones measure MODEL.onnx --phone {profile.name}")
    return DONE


def _runtime(text: str | None) -> str | None:
    """Return the runtime of `--runtime`; a file by its whole path, since the profile is used from everywhere."""
    return text if text is None or text in RUNTIMES else str(user_path(text).resolve())
