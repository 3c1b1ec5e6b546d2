import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mnas.data.folder import find_test_folder, list_test, list_training
from mnas.errors import DataError
from mnas.files import fingerprint_of

MakeFolder = Callable[..., Path]


@pytest.fixture
def directory(tmp_path: Path, make_folder: MakeFolder) -> Path:
    return make_folder(tmp_path / "data", images=2)


def test_labels_follow_the_sorted_class_names(tmp_path: Path, make_folder: MakeFolder) -> None:
    listing = list_training(make_folder(tmp_path, classes=("b", "a", "C"), images=2))
    assert listing.class_names == ("C", "a", "b")
    assert listing.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [listing.path(i).relative_to(tmp_path) for i in (0, 3)] == [
        Path("train/C/0.png"),
        Path("train/a/1.png"),
    ]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".PNG", ".bmp", ".webp", ".gif", ".tif", ".TIFF", ".jfif"])
def test_images_are_recognised_by_suffix(tmp_path: Path, make_folder: MakeFolder, suffix: str) -> None:
    assert len(list_training(make_folder(tmp_path, images=2, suffix=suffix))) == 6


def test_hidden_entries_and_other_files_are_passed_over(directory: Path) -> None:
    (directory / "train" / ".cache").mkdir()
    (directory / "train" / "README.txt").touch()
    (directory / "train" / "ant" / ".0.png").touch()
    (directory / "train" / "ant" / "labels.csv").touch()
    assert len(list_training(directory)) == 6


def test_names_in_other_scripts_are_found(tmp_path: Path, make_folder: MakeFolder) -> None:
    listing = list_training(make_folder(tmp_path, classes=("büffel", "牛"), images=1))
    assert all(listing.path(position).is_file() for position in range(2))


def test_a_listing_travels_out_of_band(directory: Path) -> None:
    buffers: list[pickle.PickleBuffer] = []
    listing = list_training(directory)
    pickle.dumps(listing, protocol=5, buffer_callback=buffers.append)
    assert sum(buffer.raw().nbytes for buffer in buffers) == listing.names.nbytes + listing.labels.nbytes


def test_the_fingerprint_notices_a_changed_size(directory: Path) -> None:
    listing = list_training(directory)
    before = listing.fingerprint()
    assert listing.fingerprint() == before
    with listing.path(0).open("ab") as file:
        file.write(b"x")
    assert listing.fingerprint() != before


def test_the_fingerprint_notices_a_renamed_file(directory: Path) -> None:
    before = list_training(directory).fingerprint()
    (directory / "train" / "ant" / "0.png").rename(directory / "train" / "ant" / "00.png")
    assert list_training(directory).fingerprint() != before


def test_the_fingerprint_does_not_depend_on_where_the_folder_lies(directory: Path, tmp_path: Path) -> None:
    before = list_training(directory).fingerprint()
    assert list_training(directory.rename(tmp_path / "elsewhere")).fingerprint() == before


def test_a_file_that_has_gone_is_named_by_the_fingerprint(directory: Path) -> None:
    listing = list_training(directory)
    listing.path(1).unlink()
    with pytest.raises(DataError, match=r"ant/1\.png: cannot be examined \(No such file or directory\)"):
        listing.fingerprint()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; `directory` must hold train/CLASS/IMAGE"):
        list_training(tmp_path / "nowhere")


def test_a_missing_train_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no `train` folder; the layout is DIRECTORY/train/CLASS/IMAGE"):
        list_training(tmp_path)


def test_images_outside_class_folders_are_refused(directory: Path) -> None:
    (directory / "train" / "stray.jpg").touch()
    with pytest.raises(DataError, match=r"train: holds images directly \(stray\.jpg\); put each image into"):
        list_training(directory)


@pytest.mark.parametrize("classes", [(), ("only",)])
def test_fewer_than_two_classes_are_refused(tmp_path: Path, make_folder: MakeFolder, classes: tuple[str, ...]) -> None:
    (tmp_path / "train").mkdir()
    make_folder(tmp_path / "data", classes=classes, parts=("train",))
    (tmp_path / "data" / "train").mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match=rf"train: has {len(classes)} class folders, a classifier needs at least 2"):
        list_training(tmp_path / "data")


def test_an_empty_class_folder_is_refused(directory: Path) -> None:
    (directory / "train" / "dog").mkdir()
    with pytest.raises(DataError, match=r"train/dog: has no images \(.*\.jpg.*\); add some or remove the folder"):
        list_training(directory)


def test_images_one_folder_too_deep_are_refused(directory: Path) -> None:
    (directory / "train" / "dog" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match=r"train/dog: has folders \(images\) but no images; move its images up"):
        list_training(directory)


@pytest.mark.parametrize("name", ["test", "val"])
def test_the_test_folder_that_exists_is_used(tmp_path: Path, make_folder: MakeFolder, name: str) -> None:
    directory = make_folder(tmp_path, parts=("train", name))
    assert find_test_folder(directory, None) == directory / name


def test_a_named_test_folder_is_used(tmp_path: Path, make_folder: MakeFolder) -> None:
    directory = make_folder(tmp_path, parts=("train", "test", "val", "held-out"))
    assert find_test_folder(directory, "held-out") == directory / "held-out"


def test_a_missing_directory_of_a_test_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: no such folder"):
        find_test_folder(tmp_path / "none", None)


def test_a_missing_test_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no `test` or `val` folder; the test set must be there"):
        find_test_folder(tmp_path, None)
    with pytest.raises(DataError, match="has no `held-out` folder"):
        find_test_folder(tmp_path, "held-out")


def test_two_test_folders_need_a_choice(tmp_path: Path, make_folder: MakeFolder) -> None:
    directory = make_folder(tmp_path, parts=("train", "test", "val"))
    with pytest.raises(DataError, match="has both a `test` and a `val` folder; say which to use with `test_folder`"):
        find_test_folder(directory, None)


def test_a_test_set_has_the_labels_of_the_training_data(directory: Path) -> None:
    training = list_training(directory)
    assert np.array_equal(list_test(directory, None, training.class_names).labels, training.labels)


def test_a_test_set_of_other_classes_is_refused(directory: Path) -> None:
    (directory / "test" / "ant").rename(directory / "test" / "wasp")
    message = r"differ from the training data's \(missing ant; not in training wasp\)"
    with pytest.raises(DataError, match=message):
        list_test(directory, None, ("ant", "bee", "cow"))
    with pytest.raises(DataError, match=r"missing a, b, c and 1 more; not in training bee"):
        list_test(directory, None, ("a", "b", "c", "d"))


def test_what_is_left_out_is_counted_and_said(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    ant = directory / "train" / "ant"
    for name in ("a.heic", "b.HEIC", "notes.txt"):
        (ant / name).touch()
    (ant / "gone.jpg").symlink_to(directory / "nothing.jpg")
    (ant / "more").mkdir()
    (directory / "train" / "wasp").symlink_to(directory / "no class")
    assert len(list_training(directory)) == 6
    (said,) = caplog.messages
    assert said.startswith(
        f"{directory / 'train'}: 6 entries of its class folders are not used "
        "(.heic files: 2, .txt files: 1, broken links: 2, folders: 1)"
    )


def test_nothing_is_said_of_a_folder_that_is_used_whole(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    (directory / "train" / "ant" / ".hidden").touch()
    (directory / "train" / "README.txt").touch()
    list_training(directory)
    assert caplog.messages == []


def test_a_class_of_files_that_are_not_read_says_which(directory: Path) -> None:
    (directory / "train" / "dog").mkdir()
    (directory / "train" / "dog" / "1.heic").touch()
    (directory / "train" / "dog" / "2.jpg").symlink_to("gone.jpg")
    with pytest.raises(DataError, match=r"train/dog: has no images \(.*\) but \.heic files: 1, broken links: 1"):
        list_training(directory)


def test_the_fingerprint_is_that_of_earlier_releases(directory: Path) -> None:
    listing = list_training(directory)
    sizes = np.array([listing.path(position).stat().st_size for position in range(6)], np.int64)
    names = b"\n".join(f"{name}/{number}.png".encode() for name in ("ant", "bee", "cow") for number in (0, 1))
    labels = np.repeat(np.arange(3, dtype=np.int32), 2)
    assert listing.fingerprint() == fingerprint_of(names, sizes, labels, "ant", "bee", "cow")
