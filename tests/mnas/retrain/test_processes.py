"""What the processes of `--cards` are started with."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mnas.files import RunDirectoryError
from mnas.mindspore_setup import Device
from mnas.retrain.processes import cores_of, run_on_cards


class Started:
    """A process that has been started with `env`, and has ended well."""

    pid = 0
    all: list[dict[str, str]]

    def __init__(self, command: Sequence[str], *, env: dict[str, str], **_: Any) -> None:
        assert command[0] == sys.executable
        Started.all.append(env)

    def poll(self) -> int:
        return 0

    def terminate(self) -> None:
        """It has ended."""

    def wait(self, timeout_s: float | None = None) -> None:
        """It has ended."""


def start(monkeypatch: pytest.MonkeyPatch, folder: Path, device: Device) -> list[dict[str, str]]:
    monkeypatch.setattr(Started, "all", [], raising=False)
    monkeypatch.setattr(subprocess, "Popen", Started)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: None)
    assert run_on_cards(2, ["retrain"], folder, device) == 0
    return Started.all


def test_a_clusters_rank_table_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK_TABLE_FILE", "/etc/ranks.json")
    monkeypatch.setenv("RANK_SIZE", "16")
    _, *workers = start(monkeypatch, tmp_path, "Ascend")
    assert [worker["DEVICE_ID"] for worker in workers] == ["0", "1"]
    assert not any({"RANK_TABLE_FILE", "RANK_SIZE"} & worker.keys() for worker in workers)


def test_cann_keeps_its_files_of_each_card_in_the_run_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, *workers = start(monkeypatch, tmp_path, "Ascend")
    assert [worker["ASCEND_CACHE_PATH"] for worker in workers] == [
        os.fspath(tmp_path / f"rank-{rank}" / "cache") for rank in range(2)
    ]


def test_a_cpu_has_no_folders_of_cann(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not any("ASCEND_CACHE_PATH" in worker for worker in start(monkeypatch, tmp_path, "CPU"))


@pytest.mark.parametrize(
    ("ranks", "cores", "shares"),
    [(2, [0, 1, 2, 3], [[0, 1], [2, 3]]), (3, [4, 5, 6, 7], [[4], [5], [6]]), (4, [0, 1], [[0, 1]] * 4)],
)
def test_processes_have_equal_shares_of_the_cores(ranks: int, cores: list[int], shares: list[list[int]]) -> None:
    assert [cores_of(rank, ranks, cores) for rank in range(ranks)] == shares


@pytest.mark.parametrize("name", [".", "scheduler.log"], ids=["folder", "file"])
def test_output_of_the_processes_follows_no_link(name: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "processes"
    if name == ".":
        elsewhere.mkdir()
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        elsewhere.write_text("mine")
        (folder / name).symlink_to(elsewhere)
    with pytest.raises(RunDirectoryError, match="link"):
        run_on_cards(2, ["--version"], folder, "CPU")
    assert list(elsewhere.iterdir()) == [] if name == "." else elsewhere.read_text() == "mine"
