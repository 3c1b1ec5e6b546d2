from pathlib import Path

import msgspec
import pytest

from mnas.data import DigitsSettings, ImageForm, SearchData
from mnas.experiment import Experiment
from mnas.files import RunDirectoryError
from mnas.search.run import Run
from mnas.search.run_directory import open_run
from mnas.search.store import TrialStore


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
