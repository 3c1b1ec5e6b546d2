import json
from pathlib import Path

import pytest

from mnas.cli import main
from search_space import read_architecture


def test_the_best_trial_comes_first(searched_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["best", str(searched_run), "--count", "5", "--json"]) == 0
    assert [trial["id"] for trial in json.loads(capsys.readouterr().out)] == [2, 1]


def test_one_trial_can_be_asked_for(searched_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["best", str(searched_run), "--trial", "1"]) == 0
    assert capsys.readouterr().out.startswith("trial          1\n")


def test_a_failed_trial_says_why(searched_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["best", str(searched_run), "--trial", "3"]) == 0
    assert "failed         phone: unsteady" in capsys.readouterr().out


def test_yaml_is_an_architecture_file(searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["best", str(searched_run), "--trial", "1", "--yaml"]) == 0
    path = tmp_path / "found.yaml"
    path.write_text(capsys.readouterr().out)
    assert read_architecture(path).lineage["trial"] == 1


def test_another_target_is_told_and_leaves_the_lineage(
    searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["best", str(searched_run), "--target-ms", "0.5", "--json"]) == 0
    (best,) = json.loads(capsys.readouterr().out)
    assert (best["id"], best["target_ms"]) == (2, 0.5)
    assert best["reward"] != 0.57
    assert main(["best", str(searched_run), "--target-ms", "0.5", "--yaml"]) == 0
    printed = capsys.readouterr()
    path = tmp_path / "found.yaml"
    path.write_text(printed.out)
    assert read_architecture(path).lineage["reward"] == 0.57
    assert "mnas: No network meets latency.target_ms = 0.5" in printed.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--trial", "9"], 1, "no trial 9"),
        (["--count", "2", "--yaml"], 2, "--yaml prints one architecture"),
        (["--count", "0"], 2, "must be at least 1"),
        (["--count", "2", "--trial", "1"], 2, "not allowed with"),
        (["--json", "--yaml"], 2, "not allowed with"),
        (["--target-ms", "nan"], 2, "finite number above 0"),
        (["--target-ms", "-1"], 2, "finite number above 0"),
        (["--below-ms", "inf"], 2, "finite number above 0"),
        (["--below-ms", "0"], 2, "finite number above 0"),
        (["--below-ms", "1e-9"], 1, "no network takes at most 1e-09 ms; the fastest, trial 1"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    arguments: list[str], code: int, said: str, searched_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = main(["best", str(searched_run), *arguments])
    except SystemExit as stop:  # argparse's way to refuse
        found = int(str(stop.code))
    assert (found, said in capsys.readouterr().err) == (code, True)
