"""Help teaches: every command shows an example, and fits a terminal of 80 columns."""

import argparse
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mnas.cli import COMMANDS as SUMMARIES
from mnas.cli import build_parser


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Give the parsers of all commands below this one that do something."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for each in action.choices.values():
            yield from parsers(each)
    if not below:
        yield parser


COMMANDS = {parser.prog: parser for parser in parsers(build_parser())}


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


# Help of mnas itself waits for nothing; that of a command imports the command, but not what takes seconds.
SLOW = {"ray", "mindspore", "onnxruntime", "tensorboardX"}
HEAVY = {*SLOW, "msgspec", "numpy", "onnx", "rich", "shtab", "sqlite3", "yaml"}


@pytest.mark.parametrize(
    ("command", "heavy"), [((), HEAVY), *(((name,), SLOW) for name in SUMMARIES), (("phones", "measure"), SLOW)]
)
def test_help_is_light(command: tuple[str, ...], heavy: set[str]) -> None:
    code = (
        "import sys; from mnas.cli import main\n"
        f"try: main([*{command!r}, '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        f"loaded = {heavy!r} & sys.modules.keys()\n"
        "assert not loaded, loaded"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    assert "usage: mnas" in completed.stdout


def test_every_command_has_a_summary_that_is_its_own() -> None:
    assert len(set(SUMMARIES.values())) == len(SUMMARIES)


def test_a_misspelt_command_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser([]).parse_args(["serch"])
    assert stop.value.code == 2
    assert "search" in capsys.readouterr().err
