"""Full training and validation as functions."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mnas.checkpoints.checkpoint import read_checkpoint
from mnas.data import DigitsSettings, ImageArrays
from mnas.errors import ConfigurationError
from mnas.evaluation.accuracy import Evaluation, Evaluator
from mnas.files import RunDirectoryError
from mnas.full_training import train, validate
from mnas.mindspore_setup import Compute
from mnas.retrain.logs import EpochRow
from mnas.retrain.recipe import Recipe, ValidationSettings
from mnas.training.settings import TrainingSettings
from search_space import Architecture, parse_block

ARCHITECTURE = Architecture((parse_block("r1_k3_s22_e3_i8_o16"),), stem_filters=8, head_filters=16)
RECIPE = Recipe(
    data=DigitsSettings(image_size=16),
    training=TrainingSettings(epochs=1, learning_rate=0.01, norm_momentum=0.9, norm_batches=2),
    threads=1,
)


class Watcher:
    def __init__(self) -> None:
        self.epochs: list[EpochRow] = []

    def started(self, *_: object) -> None:
        pass

    def stepped(self, *_: object) -> None:
        pass

    def epoch_finished(self, row: EpochRow) -> None:
        self.epochs.append(row)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, Watcher]:
    """A directory of a training of one epoch, its top-1, and what its observer was told."""
    directory = tmp_path_factory.mktemp("trained")
    watcher = Watcher()
    result = train(ARCHITECTURE, RECIPE, directory=directory / "run", observer=watcher)
    return directory / "run", result.accuracy.top1, watcher


Trained = tuple[Path, float, Watcher]


def test_an_observer_is_told(trained: Trained) -> None:
    _, top1, watcher = trained
    assert [row.top1 for row in watcher.epochs] == [top1]


def test_a_finished_training_answers_again(trained: Trained) -> None:
    directory, top1, _ = trained
    assert train(ARCHITECTURE, RECIPE, directory=directory).accuracy.top1 == top1


class Killed(Watcher):
    """Ends the training before its first step, or after its first epoch."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def started(self, *_: object) -> None:
        if self._at == "start":
            raise KeyboardInterrupt

    def epoch_finished(self, row: EpochRow) -> None:
        if self._at == "epoch":
            raise KeyboardInterrupt


def test_fine_tuning_resumes_exactly_and_without_the_file(trained: Trained, tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(RECIPE, training=msgspec.structs.replace(RECIPE.training, epochs=2))
    init = tmp_path / "init.safetensors"
    shutil.copyfile(trained[0] / "last.safetensors", init)
    whole = train(ARCHITECTURE, recipe, directory=tmp_path / "whole", init=init)
    assert whole.init is not None
    assert (whole.init.path, whole.init.drawn) == (str(init), "")
    for at in ("start", "epoch"):
        with pytest.raises(KeyboardInterrupt):
            train(ARCHITECTURE, recipe, directory=tmp_path / "killed", init=init, observer=Killed(at))
        init.unlink(missing_ok=True)
    resumed = train(ARCHITECTURE, recipe, directory=tmp_path / "killed", init=init)
    found, expected = (read_checkpoint(result.last).weights for result in (resumed, whole))
    assert all(np.array_equal(found[name], value) for name, value in expected.items())
    with pytest.raises(RunDirectoryError, match=r"started differently \(init: .*init.safetensors -> absent"):
        train(ARCHITECTURE, recipe, directory=tmp_path / "killed")


def test_names_and_paths_are_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no recipe is called 'cifar11'"):
        train("mnasnet-a1", "cifar11", directory=tmp_path / "run")
    with pytest.raises(ConfigurationError, match="digits that come with mnas"):
        train("mnasnet-a1", RECIPE, directory=tmp_path / "run", data=tmp_path)


@pytest.mark.parametrize("data", ["digits", DigitsSettings(image_size=16).load_test()], ids=["name", "source"])
def test_its_checkpoint_is_validated(trained: Trained, data: str | ImageArrays) -> None:
    directory, top1, _ = trained
    seen: list[int] = []
    evaluation = validate(directory / "last.safetensors", data=data, compute=Compute(threads=1), on_batch=seen.append)
    assert (evaluation.top1, evaluation.images, seen[-1]) == (top1, 360, 360)


def test_onnx_computes_on_the_cpu_only(trained: Trained) -> None:
    with pytest.raises(ConfigurationError, match='engine="onnx" computes on the CPU'):
        validate(trained[0] / "last.safetensors", data="digits", engine="onnx", compute=Compute("Ascend"))


def test_held_out_images_choose_and_the_test_set_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = msgspec.structs.replace(RECIPE, validation=ValidationSettings(images=137), checkpoint_every_steps=7)
    looked: list[int] = []
    evaluate = Evaluator.evaluate

    def watched(self: Evaluator, *arguments: Any, **named: Any) -> Evaluation:
        result = evaluate(self, *arguments, **named)
        looked.append(result.images)
        return result

    monkeypatch.setattr(Evaluator, "evaluate", watched)
    result = train(ARCHITECTURE, recipe, directory=tmp_path / "run")
    assert train(ARCHITECTURE, recipe, directory=tmp_path / "run") == result
    assert looked == [137, 360]
    assert result.validation is not None
    assert (result.validation.on, result.validation.images, result.accuracy.on) == ("validation", 137, "test")
    assert result.tested == result.best[0]
    changed = msgspec.structs.replace(recipe, validation=ValidationSettings(images=137, split_seed=1))
    with pytest.raises(RunDirectoryError, match=r"started differently .*validation"):
        train(ARCHITECTURE, changed, directory=tmp_path / "run")
