"""`mnas completion SHELL`: a script that completes commands and options."""

from __future__ import annotations

import argparse

import shtab

from mnas.cli import build_parser
from mnas.cli.errors import DONE

_DESCRIPTION = """\
Print a script that completes the commands and options of mnas in a shell. The
shell reads it at every start.
"""
_EPILOG = """\
examples:
  mnas completion bash > ~/.local/share/bash-completion/completions/mnas
  mnas completion zsh > ~/.zfunc/_mnas
  mnas completion fish > ~/.config/fish/completions/mnas.fish

For zsh, ~/.zshrc needs `fpath=(~/.zfunc $fpath)` before `compinit`.
"""
_SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help="bash, zsh or fish")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    print(shtab.complete(build_parser(), arguments.shell))
    return DONE
