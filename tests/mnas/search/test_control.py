from pathlib import Path

import pytest

from mnas.files import RunDirectoryError, is_locked, locked_directory
from mnas.search.control import CONTROL_FILE, ControlFile, Request, ask
from mnas.search.requests import Requests


def test_requests_reach_a_search_that_runs(tmp_path: Path) -> None:
    control = ControlFile(tmp_path)
    assert control.requests() == Requests()
    ask(tmp_path, Request(do="pause"))
    ask(tmp_path, Request(do="cancel", trial=3))
    assert control.requests() == Requests(paused=True, cancelled=frozenset({3}))
    ask(tmp_path, Request(do="resume"))
    ask(tmp_path, Request(do="drain"))
    assert control.requests() == Requests(stop="drain", cancelled=frozenset({3}))
    ask(tmp_path, Request(do="stop"))
    assert control.requests().stop == "now"


def test_a_search_that_starts_obeys_a_pause_and_no_earlier_stop(tmp_path: Path) -> None:
    for request in (Request(do="pause"), Request(do="stop"), Request(do="cancel", trial=2)):
        ask(tmp_path, request)
    assert ControlFile(tmp_path).requests() == Requests(paused=True, cancelled=frozenset({2}))


@pytest.mark.parametrize(
    "foreign", [b"\xff\n", b"{\n", b'{"do": "explode"}\n', b'{"do": "cancel", "trial": -1}\n', b"[" * 100_000, b'{"do'],
    ids=range(6),
)  # fmt: skip
def test_a_line_that_is_no_request_changes_nothing(tmp_path: Path, foreign: bytes) -> None:
    (tmp_path / CONTROL_FILE).write_bytes(foreign)
    control = ControlFile(tmp_path)
    ask(tmp_path, Request(do="pause"))
    assert control.requests() == Requests(paused=True)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"do": "pause"}\n')
    (tmp_path / CONTROL_FILE).symlink_to(tmp_path / "elsewhere")
    assert ControlFile(tmp_path).requests() == Requests()
    with pytest.raises(RunDirectoryError, match="symbolic link"):
        ask(tmp_path, Request(do="pause"))


def test_the_lock_of_a_search_is_seen_without_taking_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked_directory(tmp_path, "mnas search"):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
