import os
import sys
from pathlib import Path

import pytest

from mnas.errors import ConfigurationError
from mnas.workers.ray_text import check_ray_text

NOT_UTF_8 = os.fsdecode(b"caf\xe9")


def test_other_text_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "mnas", "search", "café"])
    check_ray_text()


def test_a_command_line_that_is_no_utf_8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "mnas", "search", NOT_UTF_8])
    with pytest.raises(ConfigurationError, match="Ray takes UTF-8 text only"):
        check_ray_text()


def test_a_working_directory_that_is_no_utf_8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NOT_UTF_8).mkdir()
    monkeypatch.chdir(tmp_path / NOT_UTF_8)
    with pytest.raises(ConfigurationError, match="a link to it"):
        check_ray_text()
