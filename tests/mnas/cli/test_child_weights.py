"""What commands do with the trained weights that a search has kept, and without them."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, Position, write_checkpoint
from mnas.cli import main
from mnas.evaluation.accuracy import Evaluator
from mnas.network.weights import initial_weights
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE
from mnas.search.store import TrialStore
from mnas.search.weights import weights_file
from tests.mnas.cli.test_what_to_retrain import RECIPE


@pytest.fixture
def run(searched_run: Path, tmp_path: Path) -> Run:
    """The searched run; trial 2 has weights, and their accuracy on the reward set."""
    directory = tmp_path / "digits"
    shutil.copytree(searched_run, directory)
    found = Run.open(directory)
    empty = Checkpoint(found.architecture_file(found.trial(2)), found.images, {})
    weights = initial_weights(empty.network(), seed=1)
    result = Evaluator(empty.network(), found.experiment.data.load_search().reward).evaluate(weights)
    accuracy = Accuracy(
        top1=result.top1, top5=result.top5, loss=result.loss, images=result.images, of_ema=False, on="validation"
    )
    path = weights_file(directory, 2)
    path.parent.mkdir()
    position = Position(epoch=2, step=44)
    write_checkpoint(path, Checkpoint(empty.architecture, found.images, weights, position=position, accuracy=accuracy))
    with closing(TrialStore(directory / DATABASE, create=True)) as store:
        store.write("UPDATE trials SET accuracy = ? WHERE id = 2", (result.top1,))
    return found


def test_the_accuracy_of_the_search_is_repeated(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(run.directory), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["trial"] == {"id": 2, "accuracy": said["top1"]}
    assert said["images"] == run.reward_images


def test_best_names_the_weights(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["best", str(run.directory)]) == 0
    assert f"weights        {weights_file(run.directory, 2)}" in capsys.readouterr().out
    assert main(["best", str(run.directory), "--count", "2", "--json"]) == 0
    assert [bool(each["weights"]) for each in json.loads(capsys.readouterr().out)] == [True, False]


def test_other_images_than_those_of_the_search_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(TrialStore(run.directory / DATABASE, create=True)) as store:
        store.set_meta({"data_fingerprint": "0" * 64})
    assert main(["validate", str(run.directory)]) == 1
    assert "the images have changed since its search" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("validate", "RUN", "--trial", "1"), "the trained weights of trial 1 are not kept"),
        (("validate", "RUN", "--arch", "mnasnet-a1"), "--arch: a run has its own networks"),
        (("validate", "RUN", "--test-folder", "test"), "--test-folder: is that of --data"),
        (("validate", "WEIGHTS"), "--data: names the images"),
        (("validate", "WEIGHTS", "--trial", "2", "--data", "digits"), "--trial: "),
        (("retrain", "--from", "RUN", "--trial", "1", "--recipe", "RECIPE"), "trial 1 are not kept"),
        (("retrain", "mnasnet-a1", "--from", "RUN", "--recipe", "RECIPE"), "leave ARCH out"),
        (("retrain", "--from", "RUN", "--init", "WEIGHTS", "--recipe", "RECIPE"), "leave --init out"),
        (("retrain", "--from", "RUN", "--width", "2", "--recipe", "RECIPE"), "leave --width out"),
        (("retrain", "RUN", "--top", "2", "--init", "WEIGHTS", "--recipe", "RECIPE"), "leave out --from and --init"),
        (("retrain", "--from", "mnasnet-a1", "--recipe", "RECIPE"), "is no run directory of a search"),
        (("retrain", "--init", "WEIGHTS", "--trial", "1", "--recipe", "RECIPE"), "--trial and --width"),
        (("retrain", "--init", "none.safetensors", "--recipe", "RECIPE"), "none.safetensors: no such file"),
        (("retrain", "--init", "none.ckpt", "--recipe", "RECIPE"), "name the network"),
        (("retrain", "mnasnet-a1", "--init", "WEIGHTS", "--recipe", "RECIPE"), "not of mnasnet-a1"),
        (("retrain", "--init", "none.pth", "--recipe", "RECIPE"), "none.pth"),
    ],
)
def test_what_cannot_be_is_refused(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    names = {"RUN": str(run.directory), "WEIGHTS": str(weights_file(run.directory, 2)), "RECIPE": "recipe.yaml"}
    assert main([names.get(word, word) for word in words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
