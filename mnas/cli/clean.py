"""`mnas clean`: what mnas keeps outside run directories, and deleting it."""

from __future__ import annotations

import argparse
import sys

from mnas.cli.errors import BAD_INPUT, DONE
from mnas.cli.output import print_json
from mnas.errors import ConfigurationError
from mnas.kept_files import Kept, delete, kept_files

_KINDS = ("downloads", "runtimes", "latency-cache", "loopback-phone", "cann-stubs", "ray-sessions")
_DESCRIPTION = """\
List what mnas keeps outside run directories, with sizes, or delete the kinds
that are asked for. Run directories and exported folders are never deleted.
"""
_EPILOG = """\
examples:
  mnas clean                               # lists, deletes nothing
  mnas clean --ray-sessions --downloads    # asks first
  mnas clean --all --yes                   # every kind that has an option
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "clean",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for kind in _KINDS:
        parser.add_argument(
            f"--{kind}", dest="kinds", action="append_const", const=kind, help=f"delete {kind.replace('-', ' ')}"
        )
    parser.add_argument("--all", dest="kinds", action="store_const", const=list(_KINDS), help="delete all of these")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.yes and not arguments.kinds:
        raise ConfigurationError("--yes: says not to ask before something is deleted; say what, such as --ray-sessions")
    kept = kept_files()
    chosen = [entry for entry in kept if entry.name in (arguments.kinds or ())]
    shown = chosen if arguments.kinds else kept
    answer = [
        {
            "kind": entry.name,
            "bytes": entry.size_bytes,
            "paths": [str(path) for path in entry.paths],
            "deleted": entry in chosen,
        }
        for entry in shown
    ]
    if not arguments.json:
        for entry in shown:
            _print_kept(entry)
    if chosen:
        if not arguments.yes and not _confirmed():
            return BAD_INPUT
        delete(chosen)
    if arguments.json:
        print_json(answer)
    elif chosen:
        print("deleted")
    return DONE


def _print_kept(entry: Kept) -> None:
    where = "nothing" if not entry.paths else entry.paths[0] if len(entry.paths) == 1 else entry.paths[0].parent
    how = f"--{entry.name} deletes them; {entry.instead}" if entry.deletable else entry.instead
    print(f"{entry.name:<15} {entry.size_bytes / 1e6:>10,.1f} MB  {where}")
    print(f"{'':<15} {entry.subject} ({how})")


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        print("mnas: nothing deleted; give --yes to delete without being asked", file=sys.stderr)
        return False
    print("Delete these? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("mnas: nothing deleted", file=sys.stderr)
    return False
