"""Whether a command of the documentation would be accepted, without running it."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence

from mnas.cli import build_parser
from tests.docs.pages import ROOT

_REDIRECTIONS = frozenset((">", ">>", "|", "&&"))
# Programs that are not ours: nothing of them is checked.
_OF_OTHERS = frozenset((".", "adb", "export", "git", "msrun", "pip", "ray", "svc", "cmd"))


def check_runnable(command: str) -> None:
    """Raise AssertionError or SystemExit unless mnas, the Makefile or a script of ours accepts the command."""
    words = _words(command)
    if words[0] == "mnas":
        build_parser().parse_args(words[1:])
    else:
        check_known(command)


def check_known(command: str) -> None:
    """Raise AssertionError unless the program, its sub-commands and its options exist; values may be placeholders."""
    words = _words(command)
    if words[0] == "mnas":
        _check_options(command, words[1:], build_parser())
    elif words[0] == "make":
        assert re.search(rf"^{re.escape(words[-1])}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
    elif words[:2] == ["python", "-m"]:
        script = ROOT / (words[2].replace(".", "/") + ".py")
        assert script.is_file(), f"{command}: there is no {script}"
        text = script.read_text()
        for option in _options(words):
            assert f'"{option}"' in text, f"{command}: {words[2]} has no {option}"
    else:
        assert words[0] in _OF_OTHERS, f"{command}: unknown program"


def _words(command: str) -> list[str]:
    words = shlex.split(command, comments=True)
    ends = [index for index, word in enumerate(words) if word in _REDIRECTIONS]
    return words[: ends[0]] if ends else words


def _options(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def _check_options(command: str, words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            verb = next((word for word in words if not word.startswith("-")), None)
            if verb is None or verb.isupper() or verb == "...":
                return
            assert verb in action.choices, f"{command}: there is no {parser.prog} {verb}"
            _check_options(command, words[words.index(verb) + 1 :], action.choices[verb])
            return
    known = {option for action in parser._actions for option in action.option_strings}
    for option in _options(words):
        assert option in known, f"{command}: {parser.prog} has no {option}"
