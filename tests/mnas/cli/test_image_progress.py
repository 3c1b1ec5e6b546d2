import pytest

from mnas.cli.image_progress import image_progress


def test_a_terminal_gets_a_count_and_a_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take standard error for a terminal
    with image_progress(360) as on_batch:
        on_batch(100)
        on_batch(200)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "200/360" in captured.err


def test_a_file_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with image_progress(360) as on_batch:
        on_batch(360)
    assert capsys.readouterr().err.strip() == ""
