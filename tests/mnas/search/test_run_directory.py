import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from latency import PhoneIdentity
from mnas.data import DigitsSettings, ImageForm, SearchData
from mnas.experiment import Experiment
from mnas.files import RunDirectoryError
from mnas.search.run import Run
from mnas.search.run_directory import check_phones, open_run
from mnas.search.store import Proposal, StoreError, TrialStore
from search_space import SearchSpace, architecture_to_dict, fingerprint

PHONE = PhoneIdentity("p", "adb", "A1", "build/1", "onnxruntime", "1.20.0", "sha256 of files", core=7)
HOST = replace(PHONE, name="host", kind="host", serial="box", fingerprint="processor A", core=1)


@pytest.fixture(scope="module")
def data() -> SearchData:
    return DigitsSettings(image_size=16, reward_images=100).load_search()


@pytest.fixture
def experiment() -> Experiment:
    return Experiment.load("quickstart")


def test_a_run_is_read_with_its_experiment_and_input(tmp_path: Path, experiment: Experiment, data: SearchData) -> None:
    with open_run(tmp_path / "run", experiment, data):
        pass
    run = Run.open(tmp_path / "run")
    assert run.experiment == experiment
    assert run.image_form == ImageForm(image_size=16, channels=1, num_classes=10)
    assert run.images.class_names == tuple("0123456789")


def test_the_lock_goes_with_the_context(tmp_path: Path, experiment: Experiment, data: SearchData) -> None:
    for _ in range(2):
        with open_run(tmp_path / "run", experiment, data):
            pass


def test_a_run_can_be_read_while_it_is_searched(tmp_path: Path, experiment: Experiment, data: SearchData) -> None:
    with open_run(tmp_path / "run", experiment, data):
        assert Run.open(tmp_path / "run").trials == ()


def test_a_resumed_run_keeps_the_larger_number_of_trials(
    tmp_path: Path, experiment: Experiment, data: SearchData
) -> None:
    more = msgspec.structs.replace(experiment, search=msgspec.structs.replace(experiment.search, trials=99))
    for given in (experiment, more):
        with open_run(tmp_path / "run", given, data):
            pass
    assert Run.open(tmp_path / "run").experiment.search.trials == 99


@pytest.mark.parametrize("key", ["hours", "device_hours", "trials"])
def test_a_run_goes_on_with_another_budget(tmp_path: Path, experiment: Experiment, data: SearchData, key: str) -> None:
    for budget in (1, 2, None):
        with open_run(tmp_path / "run", experiment.changed({f"search.budget.{key}": budget}), data):
            pass


def test_a_killed_start_can_be_started_again(tmp_path: Path, experiment: Experiment, data: SearchData) -> None:
    # Between making the file and its tables: SQLite has an empty database then.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trials.sqlite").touch()
    with open_run(tmp_path / "run", experiment, data) as store:
        assert store.trials() == []


def test_a_run_that_has_not_begun_says_so(tmp_path: Path) -> None:
    TrialStore(tmp_path / "trials.sqlite", create=True).close()
    with pytest.raises(RunDirectoryError, match="not begun"):
        Run.open(tmp_path)


@pytest.fixture
def own_space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text((files("search_space") / "spaces" / "tiny16.yaml").read_text())
    return path


def propose(store: TrialStore, space: SearchSpace) -> None:
    decisions = (0,) * len(space.decision_sizes)
    architecture = space.decode(decisions)
    proposal = Proposal(1, decisions, architecture_to_dict(architecture), fingerprint(architecture))
    store.propose(1, [proposal], {})


def forget(store: TrialStore, *keys: str) -> None:
    """Leave a store as a release left it that did not keep these keys."""
    store._connection.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in keys])
    store._connection.commit()


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        ("kernel: [3, 5]", "kernel: [3, 7]", "blocks[0].kernel: (3, 5) -> (3, 7)"),
        ("filters: [32, 48]", "filters: [32, 64]", "blocks[2].filters: (32, 48) -> (32, 64)"),
        ("stem_filters: 8", "stem_filters: 16", "stem_filters: 8 -> 16"),
    ],
)
def test_an_edited_space_is_refused(
    before: str, after: str, difference: str, tmp_path: Path, own_space: Path, experiment: Experiment, data: SearchData
) -> None:
    with_file = msgspec.structs.replace(experiment, space=str(own_space))
    with open_run(tmp_path / "run", with_file, data):
        pass
    assert before in own_space.read_text()
    own_space.write_text(own_space.read_text().replace(before, after))
    with (
        pytest.raises(RunDirectoryError, match=re.escape(difference)),
        open_run(tmp_path / "run", with_file, data),
    ):
        pass


def test_the_same_space_may_be_elsewhere_and_described_in_other_words(
    tmp_path: Path, own_space: Path, experiment: Experiment, data: SearchData
) -> None:
    with open_run(tmp_path / "run", experiment, data):
        pass
    own_space.write_text(own_space.read_text().replace("description:", "description: other words,"))
    with open_run(tmp_path / "run", msgspec.structs.replace(experiment, space=str(own_space)), data):
        pass


def test_the_name_of_the_space_does_not_need_its_file(
    tmp_path: Path, own_space: Path, experiment: Experiment, data: SearchData
) -> None:
    with_file = msgspec.structs.replace(experiment, space=str(own_space))
    with open_run(tmp_path / "run", with_file, data) as store:
        propose(store, with_file.load_space())
    own_space.unlink()
    run = Run.open(tmp_path / "run")
    assert run.architecture_file(run.trial(1)).space == "tiny16"


def test_an_edited_space_shows_in_the_trials_of_a_run_that_has_kept_none(
    tmp_path: Path, own_space: Path, experiment: Experiment, data: SearchData
) -> None:
    with_file = msgspec.structs.replace(experiment, space=str(own_space))
    with open_run(tmp_path / "run", with_file, data) as store:
        propose(store, with_file.load_space())
        forget(store, "space")
    own_space.write_text(own_space.read_text().replace("stem_filters: 8", "stem_filters: 16"))
    with (
        pytest.raises(RunDirectoryError, match="trial 1 is no longer the network"),
        open_run(tmp_path / "run", with_file, data),
    ):
        pass


def test_a_run_that_has_kept_less_keeps_the_rest_when_it_is_resumed(
    tmp_path: Path, experiment: Experiment, data: SearchData
) -> None:
    with open_run(tmp_path / "run", experiment, data) as store:
        kept = store.meta()
        propose(store, experiment.load_space())
        forget(store, "space", "kernels", "phones")
    with open_run(tmp_path / "run", experiment, data) as store:
        assert store.meta() == kept


def test_a_machine_without_the_kernels_is_refused(
    tmp_path: Path, experiment: Experiment, data: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnas.mindspore_setup.machine_has_kernels", lambda: True)
    with open_run(tmp_path / "run", experiment, data):
        pass
    monkeypatch.setattr("mnas.mindspore_setup.machine_has_kernels", lambda: False)
    with (
        pytest.raises(RunDirectoryError, match=r"kernels of mnas used: yes -> no"),
        open_run(tmp_path / "run", experiment, data),
    ):
        pass


def test_a_cluster_may_take_over_a_run_whose_machines_decide_about_the_kernels(
    tmp_path: Path, experiment: Experiment, data: SearchData
) -> None:
    in_cluster = msgspec.structs.replace(
        experiment, search=msgspec.structs.replace(experiment.search, ray_address="127.0.0.1:1")
    )
    for given in (experiment, in_cluster):
        with open_run(tmp_path / "run", given, data):
            pass


def in_folder(experiment: Experiment, directory: Path | str) -> Experiment:
    document = msgspec.to_builtins(experiment)
    document["data"] = {
        "format": "image_folder",
        "directory": str(directory),
        "image_size": 16,
        "augment": "none",
        "reward_images": 6,
    }
    return msgspec.convert(document, Experiment)


@pytest.mark.parametrize("spelling", ["{0}/", "{0}/../photos", "{0}/./"])
def test_the_folder_of_the_same_images_may_be_written_otherwise(
    spelling: str, tmp_path: Path, experiment: Experiment, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder(tmp_path / "photos")
    for directory in (str(folder), spelling.format(folder)):
        given = in_folder(experiment, directory)
        with open_run(tmp_path / "run", given, given.data.load_search()):
            pass


def test_the_folder_of_the_same_images_may_be_moved(
    tmp_path: Path, experiment: Experiment, make_folder: Callable[..., Path]
) -> None:
    given = in_folder(experiment, make_folder(tmp_path / "photos"))
    with open_run(tmp_path / "run", given, given.data.load_search()):
        pass
    moved = in_folder(experiment, (tmp_path / "photos").rename(tmp_path / "moved"))
    with open_run(tmp_path / "run", moved, moved.data.load_search()):
        pass
    assert Run.open(tmp_path / "run").experiment == moved


def test_another_folder_with_other_images_is_refused(
    tmp_path: Path, experiment: Experiment, make_folder: Callable[..., Path]
) -> None:
    given = in_folder(experiment, make_folder(tmp_path / "photos"))
    with open_run(tmp_path / "run", given, given.data.load_search()):
        pass
    other = in_folder(experiment, make_folder(tmp_path / "others", images=9))
    with (
        pytest.raises(RunDirectoryError, match=r"data has changed .*data\.directory: .*photos -> .*others"),
        open_run(tmp_path / "run", other, other.data.load_search()),
    ):
        pass


@pytest.fixture
def store(tmp_path: Path, experiment: Experiment, data: SearchData) -> Iterator[TrialStore]:
    with open_run(tmp_path / "run", experiment, data) as store:
        yield store


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (replace(PHONE, fingerprint="build/2"), "fingerprint: build/1 -> build/2"),
        (replace(PHONE, engine_version="1.21.0"), "engine_version: 1.20.0 -> 1.21.0"),
        (replace(PHONE, runtime="other files"), "runtime: sha256 of files -> other files"),
    ],
)
def test_a_phone_that_has_changed_is_refused(
    changed: PhoneIdentity, difference: str, tmp_path: Path, store: TrialStore
) -> None:
    check_phones(tmp_path, store, {"p": [PHONE]})
    with pytest.raises(RunDirectoryError, match=f"phone 'p' has changed .*{difference}"):
        check_phones(tmp_path, store, {"p": [changed]})


def test_another_unit_of_the_same_build_goes_on(tmp_path: Path, store: TrialStore) -> None:
    check_phones(tmp_path, store, {"p": [PHONE]})
    check_phones(tmp_path, store, {"p": [replace(PHONE, serial="B2")]})


def test_another_machine_is_refused_with_how_to_measure_again(tmp_path: Path, store: TrialStore) -> None:
    check_phones(tmp_path, store, {"host": [HOST]})
    message = r"host: fingerprint: processor A -> processor B.*measure every network again.*--run-dir"
    with pytest.raises(RunDirectoryError, match=message):
        check_phones(tmp_path, store, {"host": [replace(HOST, fingerprint="processor B")]})


def test_a_phone_that_could_not_be_reached_is_kept_when_it_can(tmp_path: Path, store: TrialStore) -> None:
    check_phones(tmp_path, store, {"p": []})
    check_phones(tmp_path, store, {"p": [PHONE]})
    with pytest.raises(RunDirectoryError, match="build/1 -> build/2"):
        check_phones(tmp_path, store, {"p": [replace(PHONE, fingerprint="build/2")]})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("reward_images", "many"),
        ("reward_images", "-3"),
        ("reward_images", "1e400"),
        ("reward_images", "[1]"),
        ("images", "{"),
        ("images", '{"image_size": 1}'),
        ("experiment", "[]"),
        ("experiment", "[" * 100_000),
    ],
)
def test_a_foreign_value_is_named(
    tmp_path: Path, experiment: Experiment, data: SearchData, key: str, text: str
) -> None:
    with open_run(tmp_path / "run", experiment, data) as store:
        store.set_meta({key: text})
    with pytest.raises(StoreError, match=rf"run: the stored `?{key}"):
        Run.open(tmp_path / "run")


@pytest.mark.parametrize("text", ["{", "[]", '{"image_size": "large"}', '{"image_size": 16, "channels": 1, "of": 3}'])
def test_a_foreign_input_of_the_first_release_is_named(
    tmp_path: Path, experiment: Experiment, data: SearchData, text: str
) -> None:
    with open_run(tmp_path / "run", experiment, data) as store:
        store.set_meta({"input": text})
        forget(store, "images")
    with pytest.raises(StoreError, match="run: the stored `input`"):
        Run.open(tmp_path / "run")


@pytest.mark.parametrize(("key", "text"), [("own_parts", "[]"), ("space", "{"), ("phones", '{"p": 3}')])
def test_a_foreign_value_stops_a_resume(
    tmp_path: Path, experiment: Experiment, data: SearchData, key: str, text: str
) -> None:
    with open_run(tmp_path / "run", experiment, data) as store:
        store.set_meta({key: text})
    with (
        pytest.raises(StoreError, match=f"run: the stored `{key}`"),
        open_run(tmp_path / "run", experiment, data) as store,
    ):
        check_phones(tmp_path / "run", store, {})
