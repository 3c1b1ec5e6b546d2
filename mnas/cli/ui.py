"""`mnas ui [FOLDER]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mnas.cli.errors import DONE
from mnas.cli.options import add_references, path, positive
from mnas.documents.foreign_text import printable
from mnas.errors import ConfigurationError

_DESCRIPTION = """\
Show all runs below a folder in a browser, live: pages are brought up to date
while searches run. It reads the runs and changes nothing. Only this machine
can reach it, unless --host says otherwise. It ends with Ctrl-C.
"""
_EPILOG = """\
examples:
  mnas ui
  mnas ui runs --port 8000
  mnas ui runs --reference mnasnet.json
"""
_LOCAL = ("127.0.0.1", "localhost", "::1")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ui",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", metavar="FOLDER", type=path, nargs="?", default=Path("runs"), help="where runs are (default: runs)"
    )
    parser.add_argument("--port", type=positive, default=8765, help="the port (default: 8765)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    add_references(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if not arguments.folder.is_dir():
        raise ConfigurationError(f"{arguments.folder}: no such folder; name the one that holds the run directories")
    try:
        import uvicorn

        from mnas.report.live import LOCAL_HOSTS, live_app
        from mnas.report.references import read_references
    except ImportError as error:
        raise ConfigurationError("mnas ui needs a web server: pip install 'mnas[ui]'") from error
    hosts: tuple[str, ...] = LOCAL_HOSTS
    if arguments.host not in _LOCAL:
        hosts = ("*",)
        print(
            f"mnas: warning: all that reach {printable(arguments.host)} can read these runs: there is no password",
            file=sys.stderr,
        )
    references = read_references(arguments.reference)
    print(f"http://{printable(arguments.host)}:{arguments.port}/", flush=True)
    os.nice(10)
    app = live_app(arguments.folder, hosts=hosts, references=references)
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")
    return DONE
