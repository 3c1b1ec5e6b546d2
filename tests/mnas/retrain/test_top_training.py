"""The full training of a run's best networks: real tables and runs, and a stand-in that trains them."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from mnas.data import Cifar10BinarySettings, DigitsSettings
from mnas.errors import ClusterLostError, ConfigurationError, DataError, FailureKind, TrialError
from mnas.files import RunDirectoryError, locked_directory
from mnas.retrain import top_table, top_training
from mnas.retrain.recipe import Recipe, ValidationSettings
from mnas.retrain.top_table import TABLE_FILE, TopNetwork, TopTable
from mnas.retrain.top_training import SilentTopObserver
from mnas.search.run import Run
from mnas.training.settings import TrainingSettings
from tests.mnas.report.stand_in import stand_in_run
from tests.mnas.retrain.top_stand_in import RECIPE, StandInTrainer, top1_of

COUNT = 4


def train(
    run: Run, directory: Path, trainer: StandInTrainer | None = None, *, count: int = COUNT, recipe: Recipe = RECIPE
) -> TopTable:
    return run.retrain_top(count, recipe, directory=directory, trainer=trainer or StandInTrainer())


def top1s(table: TopTable) -> dict[int, float | None]:
    return {one.trial: None if one.full is None else one.full.accuracy.top1 for one in table.networks}


def test_the_best_networks_are_trained_in_the_order_of_the_run(digits_run: Run, tmp_path: Path) -> None:
    table = train(digits_run, tmp_path / "top")
    best = [trial.id for trial in digits_run.best_trials(COUNT)]
    assert list(top1s(table).items()) == [(trial, top1_of(trial)) for trial in best]
    assert [one.proxy_accuracy for one in table.networks] == [digits_run.trial(trial).accuracy for trial in best]
    assert table == top_table.read_table(tmp_path / "top")


class KilledError(Exception):
    """Stands for SIGKILL: raised between two steps, after which nothing runs."""


def killed_at(write: int, *, after: bool) -> Callable[[Path, bytes], None]:
    """Return a `write_atomically` whose process dies right before or right after its n-th call."""
    left = write

    def write_or_die(path: Path, content: bytes) -> None:
        nonlocal left
        left -= 1
        if left == 0 and not after:
            raise KilledError
        (path.with_name("draft")).write_bytes(content)
        path.with_name("draft").rename(path)
        if left == 0:
            raise KilledError

    return write_or_die


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", range(1, COUNT + 2))
def test_killed_at_any_write_it_goes_on_to_the_same_table(
    digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int, after: bool
) -> None:
    train(digits_run, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(top_table, "write_atomically", killed_at(write, after=after))
        with suppress(KilledError):
            train(digits_run, tmp_path / "killed")
    stored = top_table.read_table(tmp_path / "killed")
    pending = [trial for trial, top1 in top1s(stored).items() if top1 is None] if stored else None
    trainer = StandInTrainer()
    train(digits_run, tmp_path / "killed", trainer)
    assert (tmp_path / "killed" / TABLE_FILE).read_bytes() == (tmp_path / "whole" / TABLE_FILE).read_bytes()
    assert pending is None or trainer.trials == pending


def test_a_finished_table_trains_nothing(digits_run: Run, tmp_path: Path) -> None:
    whole = train(digits_run, tmp_path)
    trainer = StandInTrainer()
    assert (train(digits_run, tmp_path, trainer), trainer.trials) == (whole, [])


def test_a_network_that_fails_is_in_the_table_and_the_others_go_on(digits_run: Run, tmp_path: Path) -> None:
    first, second, *others = (trial.id for trial in digits_run.best_trials(COUNT))
    errors = {
        first: TrialError(FailureKind.TRAINING_DIVERGED, "the loss is nan"),
        second: TrialError(FailureKind.OUT_OF_MEMORY, "not enough memory"),
    }
    table = train(digits_run, tmp_path, StandInTrainer(errors))
    kinds = [(one.trial, one.failure.kind) for one in table.failed if one.failure is not None]
    assert kinds == [(first, FailureKind.TRAINING_DIVERGED), (second, FailureKind.OUT_OF_MEMORY)]
    assert {trial for trial, top1 in top1s(table).items() if top1 is not None} == set(others)


def test_all_failures_but_a_divergence_are_tried_again(digits_run: Run, tmp_path: Path) -> None:
    first, second, third, _ = (trial.id for trial in digits_run.best_trials(COUNT))
    errors = {
        first: TrialError(FailureKind.TRAINING_DIVERGED, "the loss is nan"),
        second: TrialError(FailureKind.OUT_OF_MEMORY, "not enough memory"),
        third: RuntimeError("whatever it is"),
    }
    train(digits_run, tmp_path, StandInTrainer(errors))
    trainer = StandInTrainer()
    assert [one.trial for one in train(digits_run, tmp_path, trainer).failed] == [first]
    assert trainer.trials == [second, third]


def test_an_image_that_cannot_be_read_ends_all(digits_run: Run, tmp_path: Path) -> None:
    errors = {digits_run.best().id: TrialError(FailureKind.DATA, "cats/1.jpg: cannot be read")}
    with pytest.raises(DataError, match=r"cats/1\.jpg: cannot be read\. Every training would fail"):
        train(digits_run, tmp_path, StandInTrainer(errors))
    assert top_table.stored_table(tmp_path).failed == []


def test_an_observer_is_told(digits_run: Run, tmp_path: Path) -> None:
    class Watcher(SilentTopObserver):
        def __init__(self) -> None:
            self.said: list[str] = []

        def started(self, table: TopTable) -> None:
            self.said.append(f"{len(table.pending)} pending")

        def progress(self, epochs: int) -> None:
            self.said.append(f"{epochs} epochs")

        def network_ended(self, network: TopNetwork) -> None:
            self.said.append(network.folder)

    (folder := tmp_path / f"trial-{digits_run.best().id}").parent.mkdir(exist_ok=True)
    watcher = Watcher()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_training, "finished_epochs", lambda path: 2 if path == folder else 0)
        digits_run.retrain_top(1, RECIPE, directory=tmp_path, trainer=StandInTrainer(), observer=watcher)
    assert watcher.said == ["1 pending", folder.name, "2 epochs"]


def test_a_ray_that_is_lost_is_started_again(
    digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trainers: list[StandInTrainer] = []

    class Ray:
        """A context that stands in for the Ray workers; the first one is lost at once."""

        def __init__(self, *arguments: object) -> None:
            trainers.append(StandInTrainer())

        def __enter__(self) -> tuple[StandInTrainer, Callable[[], None]]:
            return trainers[-1], self.check

        def __exit__(self, *error: object) -> None:
            pass

        def check(self) -> None:
            if len(trainers) == 1:
                raise ClusterLostError("Ray's raylet ended unexpectedly", restartable=True)

    monkeypatch.setattr("mnas.retrain.top_workers.ray_trainer", Ray)
    table = digits_run.retrain_top(COUNT, RECIPE, directory=tmp_path)
    assert [len(trainer.trials) for trainer in trainers] == [COUNT, COUNT]
    assert table.pending == []
    assert "starting Ray again" in caplog.text


def test_two_commands_cannot_share_a_directory(digits_run: Run, tmp_path: Path) -> None:
    with locked_directory(tmp_path, "mnas retrain"), pytest.raises(RunDirectoryError, match="another mnas retrain"):
        train(digits_run, tmp_path)


def changed(**changes: object) -> Recipe:
    return msgspec.structs.replace(RECIPE, **changes)


FOLDER = Cifar10BinarySettings(directory="none")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (changed(data=DigitsSettings(image_size=32)), "16x16 pixels, 1 channels and 10 classes.*have 32x32 pixels"),
        (changed(num_classes=1000), "the data has 10 classes, but the recipe has `num_classes: 1000`"),
        (changed(data=FOLDER), "no such folder"),
        (changed(micro_batch_size=7), "cannot be divided into micro-batches of 7"),
        (changed(training=TrainingSettings(epochs=1, learning_rate=0.1, batch_size=5000)), "do not fill one batch"),
        (changed(data=DigitsSettings(image_size=16, reward_images=5)), "`data.reward_images` is for a search"),
    ],
    ids=["size", "classes", "no data", "micro-batch", "batch", "key of a search"],
)
def test_a_recipe_that_does_not_fit_the_run_is_refused(
    digits_run: Run, tmp_path: Path, recipe: Recipe, message: str
) -> None:
    with pytest.raises((ConfigurationError, DataError), match=message):
        train(digits_run, tmp_path / "top", recipe=recipe)
    assert not (tmp_path / "top").exists()


@pytest.mark.parametrize(("count", "message"), [(0, "is 0; it must be at least 1"), (99, r"has \d+ complete networks")])
def test_a_number_of_networks_that_cannot_be_is_refused(
    digits_run: Run, tmp_path: Path, count: int, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        train(digits_run, tmp_path / "top", count=count)


def test_classes_of_other_names_are_refused(digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = msgspec.structs.replace(digits_run.images, class_names=tuple("abcdefghij"))
    monkeypatch.setattr("mnas.retrain.top_training.input_form", lambda recipe, data: named)
    with pytest.raises(ConfigurationError, match=r"other classes \(a, b, c, \.\.\.\) than those of the search \(0, 1"):
        train(digits_run, tmp_path / "top")


@pytest.mark.parametrize(
    ("count", "recipe", "message"),
    [
        (COUNT, changed(seed=1), r"started differently \(seed: 0 -> 1\)"),
        (COUNT + 1, RECIPE, "number of networks: 4 -> 5"),
        (COUNT, changed(validation=ValidationSettings(images=100)), "validation.images: absent -> 100"),
    ],
    ids=["recipe", "count", "validation"],
)
def test_a_directory_of_other_trainings_is_refused(
    digits_run: Run, tmp_path: Path, count: int, recipe: Recipe, message: str
) -> None:
    train(digits_run, tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        train(digits_run, tmp_path, count=count, recipe=recipe)


def test_a_directory_of_another_run_is_refused(digits_run: Run, tmp_path: Path) -> None:
    other = Run.open(stand_in_run(tmp_path / "other", 12, seed=1))
    train(other, tmp_path / "top")
    with pytest.raises(ConfigurationError, match="holds trainings of another run"):
        train(digits_run, tmp_path / "top")


def test_other_data_is_refused(digits_run: Run, tmp_path: Path) -> None:
    train(digits_run, tmp_path)
    table = top_table.stored_table(tmp_path)
    top_table.write_table(tmp_path, msgspec.structs.replace(table, data_fingerprint="another"))
    with pytest.raises(ConfigurationError, match="the data has changed"):
        train(digits_run, tmp_path)


def test_a_folder_with_other_files_is_refused(digits_run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match="not empty and no training of a run's best networks"):
        train(digits_run, tmp_path)


def test_a_table_that_cannot_be_read_is_named(digits_run: Run, tmp_path: Path) -> None:
    (tmp_path / TABLE_FILE).write_text('{"run": 3}')
    with pytest.raises(RunDirectoryError, match=r"top\.json: cannot be read"):
        train(digits_run, tmp_path)


def test_networks_that_were_chosen_stay_when_the_search_has_gone_on(
    digits_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(digits_run, tmp_path)
    table = top_table.stored_table(tmp_path)
    # As if the best trial had come after the start.
    fifth = digits_run.best_trials(COUNT + 1)[-1]
    replacement = msgspec.structs.replace(top_table.new_table(digits_run, 5, RECIPE, "").networks[4], full=None)
    networks = (*table.networks[1:], replacement)
    top_table.write_table(tmp_path, msgspec.structs.replace(table, networks=networks))
    trainer = StandInTrainer()
    resumed = train(digits_run, tmp_path, trainer)
    assert [one.trial for one in resumed.networks] == [one.trial for one in networks]
    assert trainer.trials == [fifth.id]
    assert f"now trial {digits_run.best().id} would be among them" in caplog.text
