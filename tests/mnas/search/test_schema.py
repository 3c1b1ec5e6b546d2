"""A store of schema version 1, as mnas up to 0.1 wrote it, read as it is and brought to the present version."""

import os
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from controllers import state_to_bytes
from mnas.search.schema import SCHEMA_VERSION, StoreError
from mnas.search.store import TrialStore

OLD_RUN = Path(__file__).with_name("old_runs") / "killed_search_of_0_1_0.tar.xz"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(OLD_RUN) as archive:
        archive.extractall(tmp_path / "run", filter="data")
    return tmp_path / "run" / "trials.sqlite"


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def content(path: Path, *, create: bool = False) -> tuple[object, ...]:
    store = TrialStore(path, create=create)
    try:
        state = store.controller_state()
        assert state is not None
        return store.trials(), store.best(9), store.controller_log(), state_to_bytes(state), store.meta()
    finally:
        store.close()


def test_a_reader_leaves_the_version_as_it_is(old: Path) -> None:
    content(old)
    assert version(old) == 1


def test_a_migrated_store_holds_what_it_held(old: Path) -> None:
    before = content(old)
    assert content(old, create=True) == before
    assert version(old) == SCHEMA_VERSION
    assert content(old) == before


def test_a_store_on_a_disk_that_cannot_be_written_is_read(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(old)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who can write everywhere
    assert content(old) == before


@pytest.mark.parametrize("statement", range(8))
def test_killed_at_any_statement_the_migration_leaves_the_old_store(old: Path, statement: int) -> None:
    before = content(old)
    script = (
        "import os, sqlite3, sys; from pathlib import Path; from mnas.search import schema\n"
        "class Dying(sqlite3.Connection):\n"
        f"    left = {statement}\n"
        "    def execute(self, *given):\n"
        "        if not self.left: os.kill(os.getpid(), 9)\n"
        "        self.left -= 1\n"
        "        return super().execute(*given)\n"
        "path = Path(sys.argv[1])\n"
        "schema.migrate(sqlite3.connect(path, isolation_level=None, factory=Dying), path)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(old)], check=False)
    assert killed.returncode == -9
    assert (content(old), version(old)) == (before, 1)
    assert content(old, create=True) == before


def test_a_damaged_state_is_not_migrated_and_can_be_read(old: Path) -> None:
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE controller SET state = x'00'")
    connection.close()
    with pytest.raises(StoreError, match="state cannot be read"):
        TrialStore(old, create=True)
    assert version(old) == 1
    reader = TrialStore(old)
    assert len(reader.trials()) == 4
    reader.close()


def test_the_best_trials_are_found_by_the_index(old: Path) -> None:
    TrialStore(old, create=True).close()
    connection = sqlite3.connect(old)
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM trials WHERE state = 'complete' AND repeat_of IS NULL "
        "ORDER BY reward DESC, id LIMIT 1"
    ).fetchall()
    connection.close()
    assert "trials_by_reward" in str(plan)
    assert "TEMP B-TREE" not in str(plan)
