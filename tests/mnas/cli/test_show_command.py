import json
import string
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from mnas.cli import main
from mnas.errors import Failure, FailureKind
from tests.mnas.report.stand_in import stand_in_run

HOSTILE = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202e\nnext"


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["1", "2*", "3"]),
        (["--sort", "reward"], ["2*", "1", "3"]),
        (["--best", "1"], ["2*"]),
        (["--failed"], ["3"]),
        (["--pareto"], ["2*"]),
        (["--since", "1d", "--sort", "accuracy"], ["2*", "1", "3"]),
        (["--since", "2200-01-01"], []),
    ],
)
def test_trials_are_chosen_and_sorted(
    options: list[str], ids: list[str], searched_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(searched_run), *options]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    end = lines.index("2 complete, 1 failed, 0 pending")
    rows, best = lines[:end], lines[end + 1]
    assert header.startswith("trial")
    assert [row.split()[0] for row in rows] == ids
    assert best.startswith("best: trial 2, accuracy 0.6")


def test_json_is_chosen_the_same_way(searched_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(searched_run), "--best", "5", "--json"]) == 0
    assert [trial["id"] for trial in json.loads(capsys.readouterr().out)["trials"]] == [2, 1]


def test_watching_prints_it_again_when_it_changes(
    searched_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = iter((None, None))

    def sleep(_: float) -> None:
        if next(waits, KeyboardInterrupt) is KeyboardInterrupt:
            raise KeyboardInterrupt

    monkeypatch.setattr("mnas.cli.show.time.sleep", sleep)
    assert main(["show", str(searched_run), "--watch"]) == 130
    assert capsys.readouterr().out.count("best: trial 2") == 1


def test_lines_are_cut_to_the_terminal(
    hostile_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnas.cli.show.Console", partial(Console, force_terminal=True, width=80))
    assert main(["show", str(hostile_run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 80


def test_a_wrong_time_is_refused(searched_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(searched_run), "--since", "soon"]) == 2
    assert "--since soon" in capsys.readouterr().err


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which a phone's name and the texts of failures try to control the terminal."""
    directory = tmp_path_factory.mktemp("show") / "run"
    return stand_in_run(directory, 40, other=f"phone{HOSTILE}", failure=Failure(FailureKind.PHONE, f"no{HOSTILE}"))


@pytest.mark.parametrize("options", [[], ["--failed"], ["--pareto"], ["--watch"], ["--json"]])
def test_foreign_text_does_not_control_the_terminal(
    options: list[str], hostile_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mnas.cli.show.time.sleep", stop)
    assert main(["show", str(hostile_run), *options]) in (0, 130)
    printed = capsys.readouterr().out
    assert "phone" in printed
    assert set(printed) & set(HOSTILE) <= set(f"{string.printable}\n") - set("\r\x0b\x0c")


def test_foreign_text_does_not_control_a_real_terminal(
    hostile_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mnas.cli.show.time.sleep", stop)
    monkeypatch.setattr("mnas.cli.show.Console", partial(Console, force_terminal=True, width=500, height=60))
    assert main(["show", str(hostile_run), "--watch"]) == 130
    printed = capsys.readouterr().out
    assert "phone" in printed
    for sequence in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e"):
        assert sequence not in printed
