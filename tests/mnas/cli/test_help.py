"""Help teaches: every command shows an example, and fits a terminal of 80 columns."""

import argparse
from collections.abc import Iterator

import pytest

from mnas.cli import build_parser


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Give the parsers of all commands below this one that do something."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for each in action.choices.values():
            yield from parsers(each)
    if not below:
        yield parser


COMMANDS = {parser.prog: parser for parser in parsers(build_parser()) if not parser.prog.startswith("mnas phones")}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    too_long = [line for line in COMMANDS[name].format_help().splitlines() if len(line) > 80]
    assert too_long == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_of_the_command(name: str) -> None:
    assert f"{name} " in (COMMANDS[name].epilog or "") + " "


def test_the_help_of_mnas_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert [line for line in build_parser().format_help().splitlines() if len(line) > 80] == []
