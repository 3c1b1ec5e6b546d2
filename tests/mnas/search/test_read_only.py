"""Runs whose folder may not be written: a colleague's, or one on a read-only disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnas.search import read_only
from mnas.search.run import Run
from mnas.search.store import StoreError, TrialStore


@pytest.fixture(autouse=True)
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be written, as far as this process is told."""
    monkeypatch.setattr(os, "access", lambda *_: False)


@pytest.fixture
def copied(searched_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(searched_run, tmp_path / "run")


@pytest.fixture
def writer(copied: Path) -> Iterator[TrialStore]:
    """A search at work: its last step is in the write-ahead log only."""
    store = TrialStore(copied / "trials.sqlite", create=True)
    store.set_meta({"note": "in the log"})
    yield store
    store.close()


def meta(run: Path) -> dict[str, str]:
    store = TrialStore(run / "trials.sqlite")
    try:
        return store.meta()
    finally:
        store.close()


def test_a_finished_run_is_read_and_nothing_is_made(copied: Path, searched_run: Path) -> None:
    before = sorted(os.listdir(copied))
    assert Run.open(copied).counts() == Run.open(searched_run).counts()
    assert sorted(os.listdir(copied)) == before


def test_a_running_search_is_read_to_its_last_step(copied: Path, writer: TrialStore) -> None:
    assert meta(copied)["note"] == "in the log"
    writer.set_meta({"note": "later"})
    assert meta(copied)["note"] == "later"


def test_a_killed_search_is_read_without_its_shared_memory(copied: Path, writer: TrialStore, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("trials.sqlite", "trials.sqlite-wal"):
        shutil.copy(copied / name, killed / name)
    assert meta(killed)["note"] == "in the log"
    assert sorted(os.listdir(killed)) == ["trials.sqlite", "trials.sqlite-wal"]


def test_copies_are_removed(copied: Path, writer: TrialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    meta(copied)
    assert os.listdir(tmp_path / "temporary") == []


def test_a_run_that_changes_during_every_copy_is_said(
    copied: Path, writer: TrialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(range(1000))
    monkeypatch.setattr(read_only, "_state", lambda _: next(states))
    with pytest.raises(StoreError, match="written too often"):
        meta(copied)


def test_a_log_that_the_search_takes_away_is_no_fault(
    copied: Path, writer: TrialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile = shutil.copyfile
    logs: list[Path] = []

    def copy(source: Path, target: Path) -> None:
        if source.name.endswith("-wal") and not logs:
            logs.append(source)
            writer.close()  # puts the log into the database, which has to be copied again
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    assert meta(copied)["note"] == "in the log"


def test_no_room_for_a_copy_is_said(copied: Path, writer: TrialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StoreError, match=r"cannot be copied to be read .No space left on device.; .*TMPDIR"):
        meta(copied)


def test_a_run_of_any_name_is_read(copied: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"100% caf\xe9?#")
    copied.rename(odd)
    assert Run.open(odd).counts()["complete"] == 2
