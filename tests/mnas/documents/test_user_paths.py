import os
from pathlib import Path

import pytest

from mnas.documents.user_paths import path_text, user_path


def test_the_home_folder_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert [user_path(text) for text in ("~", "~/a", "a/~", "./~/a")] == [
        Path("/home/me"),
        Path("/home/me/a"),
        Path("a/~"),
        Path("~/a"),
    ]


def test_a_name_that_is_no_utf_8_becomes_text() -> None:
    assert path_text(Path(os.fsdecode(b"caf\xe9"))) == "caf\\udce9"
    assert path_text("café") == "café"
