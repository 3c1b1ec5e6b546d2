import pytest

from mnas.cli.counted_progress import counted_progress


def test_a_terminal_gets_a_count_and_a_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take standard error for a terminal
    with counted_progress("images", 360) as on_batch:
        on_batch(100)
        on_batch(200)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "200/360" in captured.err


def test_a_file_gets_a_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with counted_progress("images", 3600) as on_batch:
        on_batch(100)
        on_batch(3600)
    assert capsys.readouterr().err == "images: 3,600 of 3,600, 0:00\n"


def test_a_file_gets_a_line_when_some_time_has_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mnas.cli.counted_progress.LINE_EVERY_S", 0.0)
    with counted_progress("images", 360) as on_batch:
        on_batch(100)
    assert capsys.readouterr().err == "images: 100 of 360, 0:00\n"
