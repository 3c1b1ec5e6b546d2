"""The weights that a search keeps, on a real store and real files; children are trained by a stand-in."""

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import controllers
from mnas.checkpoints.checkpoint import Accuracy, CheckpointError, Position
from mnas.data import DigitsSettings, ImageForm
from mnas.experiment import Experiment, LatencySettings, SearchSettings
from mnas.network.weights import initial_weights
from mnas.reward import RewardSettings
from mnas.search.copy_run import copy_run
from mnas.search.driver import Search, SilentObserver
from mnas.search.halving import Halving
from mnas.search.plan import SearchPlan
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE, open_run
from mnas.search.store import TrialStore
from mnas.search.weights import WEIGHTS_FOLDER, WeightsFolder, kept_weights, read_weights
from mnas.training.rungs import Rung
from mnas.training.settings import TrainingSettings
from mnas.workers.child import TrainedWeights
from search_space import Architecture, SearchSpace, fingerprint
from tests.mnas.search.mortal_store import KilledError, MortalStore

SPACE = SearchSpace.load("tiny16")
DATA = DigitsSettings(image_size=16, reward_images=100)
FORM = ImageForm(image_size=16, channels=1, num_classes=10)
PLAN = SearchPlan(trials=8, workers=2, target_ms=1.0, reward=RewardSettings(), schedule="synchronous", batch_size=4)
KEPT = 3


def ended(result: Mapping[str, Any]) -> Future[Mapping[str, Any]]:
    future: Future[Mapping[str, Any]] = Future()
    future.set_result(result)
    return future


class Children:
    """A trainer whose weights follow from the seed."""

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        accuracy = Accuracy(
            top1=(int(fingerprint(architecture), 16) % 997) / 1000,
            top5=1.0,
            loss=0.5,
            images=100,
            of_ema=False,
            on="validation",
        )
        weights = initial_weights(FORM.lower(architecture), seed)
        trained = TrainedWeights(weights, Position(epoch=1, step=7), accuracy)
        return ended({"accuracy": accuracy.top1, "weights": trained})


class Meter:
    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        return ended({"latency_ms": 1.0 + int(fingerprint(architecture), 16) % 13})


@pytest.fixture(scope="module")
def new_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    experiment = Experiment(
        space="tiny16",
        data=DATA,
        training=TrainingSettings(epochs=1, learning_rate=0.01),
        search=SearchSettings(trials=8, keep_weights=KEPT),
        latency=LatencySettings(target_ms=1.0),
    )
    directory = tmp_path_factory.mktemp("runs") / "digits"
    with open_run(directory, experiment, DATA.load_search()):
        pass
    return directory


@pytest.fixture
def directory(new_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(new_run, tmp_path / "run")
    return tmp_path / "run"


def search(run: Run, store: TrialStore) -> None:
    controller = controllers.create_controller("random", SPACE.decision_sizes, seed=5)
    weights = WeightsFolder(run, store)
    Search(PLAN, SPACE, controller, store, Children(), Meter(), SilentObserver(), weights=weights).run()


def searched(directory: Path, **changes: object) -> Run:
    run = Run.open(directory)
    changed = {f"search.{key}": value for key, value in changes.items()}
    run = replace(run, experiment=run.experiment.changed(changed))
    with closing(TrialStore(directory / DATABASE, create=True)) as store:
        search(run, store)
    return run


def best_ids(run: Run, count: int) -> list[int]:
    with closing(TrialStore(run.directory / DATABASE)) as store:
        return sorted(trial.id for trial in store.best(count))


def test_the_best_are_kept_with_the_accuracy_of_their_trials(directory: Path) -> None:
    run = searched(directory)
    assert list(kept_weights(directory)) == best_ids(run, KEPT)
    for trial in run.best_trials(KEPT):
        checkpoint = read_weights(run, trial)
        assert checkpoint.accuracy is not None
        assert checkpoint.accuracy.top1 == trial.accuracy
        assert trial.training is not None
        assert "weights" not in trial.training


class StoppedChildren(Children):
    """A trainer that stops every other child at its rung; it sends the weights all the same."""

    def __init__(self) -> None:
        self._count = 0

    def submit_with_rungs(
        self, architecture: Architecture, seed: int, rungs: tuple[Rung, ...]
    ) -> Future[Mapping[str, Any]]:
        self._count += 1
        return ended({**self.submit(architecture, seed).result(), "stopped": self._count % 2 == 0})


def test_weights_of_children_that_were_stopped_early_are_neither_kept_nor_take_the_place_of_others(
    directory: Path,
) -> None:
    run = Run.open(directory)
    run = replace(run, experiment=run.experiment.changed({"search.keep_weights": "all"}))
    plan = replace(PLAN, halving=Halving((1,), 2, 2))
    controller = controllers.create_controller("random", SPACE.decision_sizes, seed=5)
    deleted: list[int] = []

    class Watched(WeightsFolder):
        def _delete(self, trial_id: int) -> None:
            deleted.append(trial_id)
            super()._delete(trial_id)

    with closing(TrialStore(directory / DATABASE, create=True)) as store:
        weights = Watched(run, store)
        Search(plan, SPACE, controller, store, StoppedChildren(), Meter(), SilentObserver(), weights=weights).run()
    complete = [trial.id for trial in run.trials if trial.state == "complete" and trial.repeat_of is None]
    assert 0 < len(complete) < PLAN.trials
    assert (list(kept_weights(directory)), deleted) == (complete, [])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("writes", range(1, 16, 2))
def test_killed_at_any_write_no_trial_is_without_its_weights(directory: Path, writes: int, after: bool) -> None:
    run = Run.open(directory)
    with closing(MortalStore(directory / DATABASE, writes, after=after)) as dying, suppress(KilledError):
        search(run, dying)
    wanted = best_ids(run, KEPT)
    assert set(wanted) <= kept_weights(directory).keys()
    for trial_id in wanted:
        read_weights(run, run.trial(trial_id))
    draft = directory / WEIGHTS_FOLDER / f".trial-9.safetensors.{'0' * 16}.partial"
    draft.parent.mkdir(exist_ok=True)
    draft.write_bytes(b"half")
    searched(directory)
    names = {path.name for path in (directory / WEIGHTS_FOLDER).iterdir()}
    assert names == {f"trial-{trial_id}.safetensors" for trial_id in best_ids(run, KEPT)}


def test_all_can_be_kept(directory: Path) -> None:
    run = searched(directory, keep_weights="all")
    assert list(kept_weights(directory)) == best_ids(run, 100)


def test_bytes_are_bounded_and_the_best_stay(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = searched(directory, keep_weights="all", keep_weights_gb=7e-4)
    kept = kept_weights(directory)
    assert 0 < sum(path.stat().st_size for path in kept.values()) <= 700_000
    assert 0 < len(kept) < 8
    assert any("have reached 0.0007 GB" in message for message in caplog.messages)
    assert run.best().id in kept


def test_weights_that_are_larger_than_the_bound_are_not_kept_and_said(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    searched(directory, keep_weights_gb=1e-6)
    assert kept_weights(directory) == {}
    assert "search.keep_weights_gb: the trained weights of trial 1 are not kept" in caplog.messages[0]


def other_accuracy(run: Run, path: Path) -> None:
    trial = run.best()
    with closing(TrialStore(run.directory / DATABASE, create=True)) as store:
        store.write("UPDATE trials SET accuracy = 0.123 WHERE id = ?", (trial.id,))


def other_network(run: Run, path: Path) -> None:
    other = next(kept for trial_id, kept in kept_weights(run.directory).items() if kept != path)
    shutil.copyfile(other, path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _, path: path.unlink(), r"weights of trial \d are not kept \(search.keep_weights: 3\); those of"),
        (lambda _, path: path.write_bytes(path.read_bytes()[:-9]), "truncated, damaged"),
        (lambda _, path: (path.unlink(), path.symlink_to("/etc/passwd")), "are not kept"),
        (other_accuracy, "is of another training"),
        (other_network, "holds the weights of"),
    ],
)
def test_weights_that_are_gone_or_of_another_training_are_refused(
    directory: Path, damage: Callable[[Run, Path], None], said: str
) -> None:
    run = searched(directory)
    trial = run.best()
    damage(run, kept_weights(directory)[trial.id])
    with pytest.raises(CheckpointError, match=said):
        read_weights(run, run.trial(trial.id))


def test_a_copy_has_the_weights(directory: Path, tmp_path: Path) -> None:
    searched(directory)
    copy_run(directory, tmp_path / "copy")
    run = Run.open(tmp_path / "copy")
    kept = read_weights(run, run.best())
    original = read_weights(Run.open(directory), run.best())
    assert all(np.array_equal(kept.weights[name], value) for name, value in original.weights.items())


def test_the_best_weights_are_exported_and_said(directory: Path) -> None:
    from mnas.export.model_card import model_card
    from mnas.export.onnx_file import onnx_metadata
    from mnas.export.source import find_source
    from mnas.export.subject import Adaptation, subject_of

    searched(directory)
    source = find_source(str(directory))
    subject = subject_of(source, Adaptation(), None)
    assert source.trial is not None
    path = kept_weights(directory)[source.trial.id]
    assert (subject.is_child, subject.weights_from) == (True, path)
    assert subject.checkpoint.architecture.lineage["weights"]["checkpoint"] == str(path)
    assert onnx_metadata(subject)["weights_from"] == str(path)
    untimed = replace(subject, provenance=msgspec.structs.replace(subject.provenance, latency=None))
    assert "those of a child of the search" in model_card(untimed, {}, 0.0)
    assert not subject_of(source, Adaptation(width=0.5), None).is_trained
