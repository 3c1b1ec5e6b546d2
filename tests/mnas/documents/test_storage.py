from pathlib import Path

import pytest

from mnas.documents.file_systems import storage_of

ROOT = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("type_", "options", "kind"),
    [
        ("ext4", "rw", "local"),
        ("overlay", "rw,lowerdir=/a", "local"),
        ("nfs4", "rw,vers=4.2,local_lock=none", "shared"),
        ("nfs", "rw,vers=3,local_lock=all", "unsafe"),
        ("nfs", "rw,vers=3,nolock", "unsafe"),
        ("lustre", "rw,flock", "shared"),
        ("lustre", "rw,localflock", "unsafe"),
        ("cifs", "rw", "unsafe"),
        ("fuse.sshfs", "rw", "unsafe"),
    ],
)
def test_the_kind_of_a_mount(tmp_path: Path, type_: str, options: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"{ROOT}30 20 0:5 / {tmp_path.resolve()} rw,relatime shared:1 - {type_} server:/x {options}\n")
    (tmp_path / "run").mkdir()
    assert storage_of(tmp_path / "run", mounts).kind == kind


def test_spaces_in_a_mount_point(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    mounts = tmp_path / "mountinfo"
    escaped = str(folder.resolve()).replace(" ", "\\040")
    mounts.write_text(f"{ROOT}30 20 0:5 / {escaped} rw - cifs //server/x rw\n")
    assert storage_of(folder, mounts).kind == "unsafe"
    assert storage_of(tmp_path, mounts).kind == "local"


def test_the_last_mount_of_a_place_counts(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    place = tmp_path.resolve()
    mounts.write_text(f"30 20 0:5 / {place} rw - cifs //s/x rw\n31 30 0:6 / {place} rw - tmpfs tmpfs rw\n")
    assert storage_of(tmp_path, mounts).kind == "local"


def test_the_root_of_a_container_is_its_own(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("20 1 0:1 / / rw - 9p none rw\n")
    assert storage_of(tmp_path, mounts).kind == "local"


@pytest.mark.parametrize("text", ["", "one\n", "a b c d e f - \n"])
def test_a_list_that_says_nothing_means_local(tmp_path: Path, text: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(text)
    assert storage_of(tmp_path, mounts).kind == "local"
    assert storage_of(tmp_path, tmp_path / "missing").kind == "local"
