from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from latency.adb.keys import load_keys, make_key
from latency.errors import ToolError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ADB_VENDOR_KEYS", raising=False)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_where_adb_looks_for_it(home: Path) -> None:
    first = load_keys()
    second = load_keys()
    assert first[0].GetPublicKey() == second[0].GetPublicKey() == (home / ".android/adbkey.pub").read_bytes()


def test_only_its_owner_can_read_a_new_key(home: Path) -> None:
    before = os.umask(0)
    try:
        load_keys()
    finally:
        os.umask(before)
    assert mode(home / ".android") == 0o700
    assert mode(home / ".android/adbkey") == 0o600


def test_nothing_else_is_left_in_the_folder(home: Path) -> None:
    load_keys()
    assert {path.name for path in (home / ".android").iterdir()} == {"adbkey", "adbkey.pub"}


def test_keys_made_at_the_same_time_are_one_pair(home: Path) -> None:
    path = home / "keys" / "adbkey"
    threads = [threading.Thread(target=make_key, args=[path]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = path.with_name("adbkey.pub").read_bytes()
    path.with_name("adbkey.pub").unlink()  # The public key is then derived from the private one.
    assert load_keys(path)[0].GetPublicKey().split()[0] == kept.split()[0]


def test_adbs_own_key_is_used(home: Path, adbd_root: Path) -> None:
    from latency.loopback.debian import command

    (home / ".android").mkdir()
    path = home / ".android" / "adbkey"
    subprocess.run([*command(adbd_root, "adb"), "keygen", str(path)], check=True, capture_output=True)
    public = path.with_name("adbkey.pub").read_bytes()
    assert load_keys()[0].GetPublicKey() == public


def test_vendor_keys_come_after_the_own_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(home / "one")
    make_key(home / "folder" / "two.adb_key")
    monkeypatch.setenv("ADB_VENDOR_KEYS", f"{home / 'one'}:{home / 'folder'}")
    public = [key.GetPublicKey() for key in load_keys()]
    assert public == [
        path.read_bytes() for path in (home / ".android/adbkey.pub", home / "one.pub", home / "folder/two.adb_key.pub")
    ]


def test_a_named_key_is_the_only_one(home: Path) -> None:
    make_key(home / "mine")
    assert [key.GetPublicKey() for key in load_keys(home / "mine")] == [(home / "mine.pub").read_bytes()]
    assert not (home / ".android").exists()


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_cannot_be_used_is_named(home: Path, content: bytes | None) -> None:
    if content is not None:
        (home / "broken").write_bytes(content)
    with pytest.raises(ToolError, match=r"cannot use the adb key .*broken") as caught:
        load_keys(home / "broken")
    assert caught.value.kind == "adb_keys"
