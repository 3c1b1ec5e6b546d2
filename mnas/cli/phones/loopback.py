"""`mnas phones loopback`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from latency.loopback import Adbd, check_machine, unpack_adbd
from latency.user_folders import cache_folder
from mnas.cli.errors import DONE
from mnas.cli.interrupt import stop_cleanly
from mnas.errors import ConfigurationError

_DESCRIPTION = """\
Let an adb daemon on this machine act as a phone, to try everything without one.
It runs until Ctrl-C, on one loopback port that no other machine reaches. The
daemon is Debian's real adbd, fetched through this machine's own apt (nothing is
installed). What it times is this machine's processor.
"""
_EPILOG = """\
example, in two terminals:
  mnas phones loopback --port 5599
  mnas phones add my-phone --tcp 127.0.0.1:5599 --folder FOLDER
The command prints the second line with its folder.
"""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "loopback",
        help="let this machine act as a phone",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=5599, help="port on 127.0.0.1, 0 for a free one (default: 5599)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    if not 0 <= arguments.port < 65536:
        raise ConfigurationError(f"--port {arguments.port}: a port is a number from 0 to 65535")
    check_machine()
    stop_cleanly()
    # Kept, so that the runtime is pushed once: the daemon sees this machine's own files.
    storage = cache_folder() / "loopback-phone"
    with tempfile.TemporaryDirectory(prefix="mnas-loopback-") as folder:
        print("unpacking Debian's adbd; it is fetched the first time (about 7 MB)", file=sys.stderr)
        unpack_adbd(Path(folder))
        try:
            with Adbd(Path(folder), storage, arguments.port) as daemon:
                target = daemon.address.target
                print(f"adbd listens on {target} until Ctrl-C; in another terminal:")
                print(f"  mnas phones add my-phone --tcp {target} --folder {storage / 'mnas'}", flush=True)
                signal.pause()
        except KeyboardInterrupt:
            print()
    return DONE
