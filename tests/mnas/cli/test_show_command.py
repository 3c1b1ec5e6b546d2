import json
from pathlib import Path

import pytest

from mnas.cli import main


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


def test_a_wrong_time_is_refused(searched_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(searched_run), "--since", "soon"]) == 2
    assert "--since soon" in capsys.readouterr().err
