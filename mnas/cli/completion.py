"""`mnas completion SHELL`: a script that completes commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Callable

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


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], build_parser: Callable[[], argparse.ArgumentParser]
) -> None:
    """Add the command; `build_parser` makes the parser that is completed."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help="bash, zsh or fish")
    parser.set_defaults(run=run, build_parser=build_parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    import shtab

    print(shtab.complete(arguments.build_parser(), arguments.shell))
    return DONE
