"""`mnas retrain` as users run it: killed and resumed, on two processes, and with input that cannot be used."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mnas.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mnas.cli import main
from mnas.mindspore_setup import Compute
from mnas.retrain.recipe import load_recipe
from mnas.retrain.writer import trainer_state
from mnas.training.trainer import Trainer

STEPS_PER_EPOCH, CHECKPOINT_STEPS = 44, 10
ARCHITECTURE = {
    "name": "tiny",
    "stem_filters": 8,
    "stem_stride": 2,
    "head_filters": 16,
    "blocks": ["r1_k3_s22_e3_i8_o8_se0.25"],
}
RECIPE: dict[str, Any] = {
    "data": {"format": "digits", "image_size": 16},
    "training": {
        "epochs": 4,
        "batch_size": 32,
        "learning_rate": 0.01,
        "label_smoothing": 0.1,
        "weight_decay": 1e-5,
        "dropout": 0.2,
        "norm_momentum": 0.9,
        "ema": {"decay": 0.9},
    },
    "checkpoint_every_steps": CHECKPOINT_STEPS,
    "log_every_steps": 5,
    "threads": 1,
}


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return make_command(tmp_path)


def make_command(folder: Path, **changes: object) -> list[str]:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(ARCHITECTURE))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | changes))
    given = ["retrain", str(folder / "tiny.yaml"), "--recipe", str(folder / "recipe.yaml"), "--json"]
    return [*given, "--run-dir", str(folder / "run")]


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "mnas", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def kill_in_mid_epoch(command: list[str], run_directory: Path) -> Checkpoint:
    """Start the command, kill it (-9) once it has a checkpoint in the middle of an epoch, and return that."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mnas", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    last = run_directory / "last.safetensors"
    while not (last.exists() and read_checkpoint(last).position.step % STEPS_PER_EPOCH):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    return read_checkpoint(last)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_training_goes_on_exactly_where_its_checkpoint_was(tmp_path: Path, command: list[str]) -> None:
    checkpoint = kill_in_mid_epoch(command, tmp_path / "run")
    step = checkpoint.position.step
    assert checkpoint.position.epoch == step // STEPS_PER_EPOCH

    recipe = load_recipe(tmp_path / "recipe.yaml")
    source = recipe.data.load_full().train
    trainer = Trainer(
        checkpoint.network(),
        recipe.training,
        source,
        seed=recipe.seed,
        compute=Compute(threads=1),
        start=trainer_state(checkpoint),
    )
    restored = trainer.state()
    expected_parts = (checkpoint.weights, checkpoint.ema, checkpoint.training)
    for found, expected in zip((restored.weights, restored.ema, restored.slots), expected_parts, strict=True):
        assert found is not None
        assert expected is not None
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)

    result = run(command)
    epochs = rows(tmp_path / "run" / "epochs.csv")
    assert [row["epoch"] for row in epochs] == ["1", "2", "3", "4"]
    steps = [int(row["step"]) for row in rows(tmp_path / "run" / "steps.csv")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 4 * STEPS_PER_EPOCH
    assert result["top1"] == float(epochs[-1]["top1"]) > 0.5
    finished = read_checkpoint(tmp_path / "run" / "last.safetensors")
    assert (finished.position.epoch, finished.position.step) == (4, 4 * STEPS_PER_EPOCH)
    assert run(command) == result  # a finished training is not repeated


def test_two_processes_train_one_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = RECIPE["training"] | {"epochs": 1}
    result = run([*make_command(tmp_path, micro_batch_size=16, training=training), "--cards", "2"])
    assert Path(result["last"]).exists()
    both = read_checkpoint(result["last"])
    # Each process has validated half of the images, with the moving statistics of the first.
    assert both.accuracy is not None
    assert main(["validate", str(result["last"]), "--data", "digits", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert both.accuracy.images == whole["images"]
    assert both.accuracy.top1 == pytest.approx(whole["top1"])
    assert both.accuracy.loss == pytest.approx(whole["loss"], rel=1e-5)

    (tmp_path / "alone").mkdir()
    alone = run(make_command(tmp_path / "alone", micro_batch_size=16, training=training))
    # The same micro-batches, gradients summed in another order; the moving statistics are those of half of them.
    one = read_checkpoint(alone["last"])
    for name in ("stem.conv.weight", "head.conv.weight", "classifier.weight", "classifier.bias"):
        distance = np.linalg.norm(both.weights[name] - one.weights[name])
        assert distance < 0.02 * np.linalg.norm(one.weights[name])


def test_a_changed_recipe_is_refused_by_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kill_in_mid_epoch(make_command(tmp_path), tmp_path / "run")
    assert main(make_command(tmp_path, seed=1)) == 1
    assert "started differently (seed: 0 -> 1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"trainig": {}}, [], "unknown key 'trainig' (did you mean 'training'?)"),
        ({"num_classes": 1000}, [], "the data has 10 classes, but the recipe has `num_classes: 1000`"),
        ({"micro_batch_size": 20}, [], "a batch of 32 cannot be divided into micro-batches of 20"),
        ({}, ["--data", "elsewhere"], "leave --data out"),
    ],
    ids=["key", "classes", "micro-batches", "data"],
)
def test_bad_input_is_told_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    arguments: list[str],
    message: str,
) -> None:
    assert main([*make_command(tmp_path, **changes), *arguments]) == 2
    *progress, error = capsys.readouterr().err.splitlines()
    assert error.startswith("mnas: ")
    assert message in error
    assert progress in ([], ["mnas: loading the images, and building and compiling the network"])


def test_a_recipe_without_architecture_needs_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, *rest = make_command(tmp_path)
    assert main(["retrain", *rest]) == 2
    assert "names no architecture; give ARCH" in capsys.readouterr().err


def test_a_damaged_checkpoint_stops_the_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = make_command(tmp_path)
    kill_in_mid_epoch(command, tmp_path / "run")
    last = tmp_path / "run" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-10])
    assert main(command) == 2
    assert "last.safetensors: truncated, damaged" in capsys.readouterr().err
