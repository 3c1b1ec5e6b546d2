"""The command line: `mnas COMMAND ...`; one module per command, imported when its command is asked for.

So `mnas --help` waits for none of them, and they import what they need at their top.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

from mnas import __version__
from mnas.cli.errors import check_working_directory, explained

COMMANDS = {
    "init": "write an experiment to edit",
    "search": "search for an architecture, or resume a search",
    "plan": "say how long a search will take, and what limits it",
    "audit": "find out before a search how far its numbers can be trusted",
    "stop": "end a search that runs",
    "pause": "let a search start nothing new",
    "resume": "let a paused search go on",
    "cancel": "end one pending trial",
    "show": "show the trials of a run, finished or not",
    "best": "show the best architectures of a run",
    "report": "write charts and tables of runs as one HTML file",
    "ui": "show runs in a browser, live",
    "convert": "write the trials of a run as a study of Optuna, CSV or JSON",
    "export": "write a network as ONNX, MindIR and checkpoints, with a model card",
    "retrain": "train an architecture fully, or resume its training",
    "validate": "measure the accuracy of a network, against a target",
    "space": "look at search spaces",
    "arch": "look at architectures",
    "scale": "compare a network at several widths and image sizes",
    "check": "check what this machine has for a search",
    "doctor": "check a run directory, and repair it",
    "copy": "copy a run directory, also while it is searched",
    "phones": "attach phones and measure latency on them",
    "schema": "print the JSON Schema of an experiment, for editors",
    "clean": "list and delete caches",
    "completion": "print a script that completes commands in a shell",
}
_DESCRIPTION = """\
Platform-aware neural architecture search on real hardware (MnasNet, arXiv
1807.11626).

A controller proposes networks, workers train each one briefly, a phone times
it, and the reward accuracy x (latency / target)^w drives the search.
"""
_EPILOG = """\
A first search, on the digits that come with mnas:
  mnas search quickstart
  mnas show runs/quickstart
  mnas best runs/quickstart

A search on images of your own:
  mnas init --data photos
  mnas search photos.yaml

`mnas COMMAND --help` has examples of each command.
Exit codes: 0 done, 1 the work failed, 2 wrong usage or input, 130 interrupted
(143 by SIGTERM, 129 by SIGHUP).
"""


def build_parser(known: Iterable[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        known: Commands that it can parse. Of the others it has the name and the summary only.
    """
    parser = argparse.ArgumentParser(
        prog="mnas",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mnas {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name in known:
            import_module(f"mnas.cli.{name}").add_parser(commands, summary)
        else:
            commands.add_parser(name, help=summary)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    # NumPy's products are small here; its threads would wait for each other on the cores that train. It reads this when
    # it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    def run() -> int:  # imports included: a Ctrl-C is as clean there
        parsed = build_parser(words[:1]).parse_args(words)
        check_working_directory()
        return int(parsed.run(parsed))

    return explained(run)


if __name__ == "__main__":
    sys.exit(main())
