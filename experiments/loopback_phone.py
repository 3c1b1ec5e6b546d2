"""An adb daemon on this machine that plays a phone, for trying `mnas phones` without one.

    python -m experiments.loopback_phone

It runs until Ctrl-C, on one loopback port that no other machine reaches; the daemon is Debian's real adbd, fetched
through this machine's own apt (nothing is installed). What it times is this machine's processor.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from latency.errors import ToolError
from tests.latency.adb.adbd import Adbd
from tests.latency.adb.debian import unpack_adb


def main() -> int:
    """Start the daemon, say how to use it, and wait."""
    parser = argparse.ArgumentParser(prog="python -m experiments.loopback_phone", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=5599, help="port on 127.0.0.1 (default: 5599)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mnas-loopback-") as folder:
        root = Path(folder, "debian")
        root.mkdir()
        try:
            unpack_adb(root)
        except ToolError as error:
            print(f"loopback phone: {error}", file=sys.stderr)
            return 1
        # A fixed place for what is pushed, so that it is pushed once: the daemon sees this machine's own files.
        storage = Path(tempfile.gettempdir(), "mnas-loopback-phone")
        daemon = Adbd(root, storage)
        daemon.port = arguments.port
        with daemon:
            print(f"adbd listens on {daemon.address.target} until Ctrl-C; in another terminal:")
            print(f"  mnas phones add my-phone --tcp {daemon.address.target} --folder {storage / 'mnas'}", flush=True)
            try:
                signal.pause()
            except KeyboardInterrupt:
                print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
