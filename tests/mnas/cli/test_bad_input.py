"""Whatever a user can get wrong ends with a message that names it and an exit code, never with a traceback."""

import fcntl
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from mnas.cli import main
from mnas.data import DigitsSettings
from mnas.experiment import Experiment
from mnas.search.run_directory import open_run
from mnas.search.store import Proposal, TrialStore

GOOD: dict[str, Any] = {
    "space": "tiny16",
    "data": {"format": "digits", "image_size": 16, "reward_images": 100},
    "training": {"epochs": 1, "learning_rate": 0.01},
    "search": {"trials": 2, "workers": 1},
    "latency": {"target_ms": 1.0},
}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return GOOD with the key at `path` set to `value`."""
    document: dict[str, Any] = {key: dict(item) if isinstance(item, dict) else item for key, item in GOOD.items()}
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return document


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run the command line; return its exit code and what it said, which must be one message and no output."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse's way to refuse
        code = int(str(stop.code))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return code, captured.err


def search(capsys: pytest.CaptureFixture[str], folder: Path, text: str | bytes | dict[str, Any]) -> tuple[int, str]:
    """Search with an experiment of this text."""
    path = folder / "experiment.yaml"
    if isinstance(text, dict):
        text = yaml.safe_dump(text)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return run(capsys, "search", path, "--run-dir", folder / "run")


@dataclass(frozen=True)
class Bad:
    name: str
    experiment: str | bytes | dict[str, Any]
    said: tuple[str, ...]


BAD_EXPERIMENTS = [
    Bad("empty file", "", ("experiment.yaml", "empty")),
    Bad("no mapping", "- 1\n- 2\n", ("experiment.yaml",)),
    Bad("syntax error", "space: [tiny16\ndata: 3\n", ("experiment.yaml", "line")),
    Bad("duplicate key", "space: tiny16\nspace: mnasnet\n", ("space", "line 2")),
    Bad("not UTF-8", b"space: tiny16 # \xff\xfe\n", ("experiment.yaml", "UTF-8")),
    Bad("missing key", {key: value for key, value in GOOD.items() if key != "training"}, ("training",)),
    Bad("misspelt key", changed("trainng", {}), ("trainng", "training")),
    Bad("misspelt nested key", changed("training.epoch", 3), ("training", "epoch", "epochs")),
    Bad("wrong type", changed("training.epochs", "many"), ("training.epochs",)),
    Bad("fraction of an epoch", changed("training.epochs", 1.5), ("training.epochs",)),
    Bad("out of range", changed("training.epochs", 0), ("training.epochs", "1")),
    Bad("too few trials", changed("search.trials", 0), ("search.trials", "1")),
    Bad("negative target", changed("latency.target_ms", -3.0), ("latency.target_ms", "0")),
    Bad("unknown schedule", changed("search.schedule", "sometimes"), ("search.schedule", "asynchronous")),
    Bad("unknown device", changed("device", "TPU"), ("device", "Ascend")),
    Bad("unknown optimizer", changed("training.optimizer", {"name": "lion"}), ("training.optimizer", "rmsprop")),
    Bad("unknown data format", changed("data.format", "mnist"), ("data", "digits")),
    Bad("unknown space", changed("space", "tiny17"), ("tiny17", "tiny16")),
    Bad("missing space file", changed("space", "spaces/none.yaml"), ("spaces/none.yaml",)),
    Bad("unknown controller", changed("controller.name", "ppq"), ("ppq", "ppo")),
    Bad("controller without a name", changed("controller", {"preset": "tuned"}), ("controller.name", "ppo")),
    Bad("unknown hyper-parameter", changed("controller", {"name": "ppo", "lr": 0.1}), ("lr", "learning_rate")),
    Bad(
        "hyper-parameter out of range",
        changed("controller", {"name": "ppo", "learning_rate": -1.0}),
        ("learning_rate",),
    ),
    Bad("unknown phone", changed("latency.phone", "pixel"), ("pixel", "host")),
    Bad("unknown measurement", changed("latency.measurement", {"run": 5}), ("latency.measurement.run", "runs")),
    Bad("measurement out of range", changed("latency.measurement", {"runs": 0}), ("latency.measurement", "runs")),
    Bad("positive exponent", changed("reward", {"alpha": 0.5}), ("reward.alpha",)),
    Bad("more reward images than images", changed("data.reward_images", 5000), ("5000", "1437")),
    Bad(
        "warm-up as long as the training",
        changed("training.schedule", {"name": "cosine", "warmup_epochs": 1}),
        ("warmup",),
    ),
    Bad("workers that share a core", changed("search.workers_per_npu", 2), ("search.workers_per_npu", "Ascend")),
    Bad("batch larger than the data", changed("training.batch_size", 100_000), ("batch_size",)),
]


@pytest.mark.parametrize("bad", BAD_EXPERIMENTS, ids=lambda bad: bad.name)
def test_a_bad_experiment_is_refused(bad: Bad, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = search(capsys, tmp_path, bad.experiment)
    assert code == 2, said
    for word in bad.said:
        assert word in said
    assert not (tmp_path / "run").exists()


def test_a_missing_experiment_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "search", tmp_path / "none.yaml")
    assert (code, "none.yaml" in said) == (2, True)


def test_a_directory_is_no_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "search", tmp_path)
    assert (code, "directory" in said) == (2, True)


def test_a_space_file_with_a_wrong_choice_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "name: mine\nimage_size: 16\nblocks:\n  - {op: [deconv], kernel: [3], filters: [8], layers: [1], stride: 1}\n"
    )
    code, said = run(capsys, "space", "describe", space)
    assert (code, "deconv" in said, "blocks[0]" in said) == (2, True, True)


def image_folder(folder: Path, classes: tuple[str, ...] = ("ant", "bee"), count: int = 3) -> Path:
    for name in classes:
        (folder / "train" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / "train" / name / f"{number}.png")
    return folder


def with_folder(folder: Path, **more: object) -> dict[str, Any]:
    data = {"format": "image_folder", "directory": str(folder), "image_size": 16, "augment": "none", "reward_images": 2}
    return changed("data", {**data, **more})


def no_folder(folder: Path) -> Path:
    return folder / "none"


def no_train_folder(folder: Path) -> Path:
    (folder / "images").mkdir()
    return folder


def empty_class(folder: Path) -> Path:
    (image_folder(folder) / "train" / "cat").mkdir()
    return folder


def broken_image(folder: Path) -> Path:
    (image_folder(folder) / "train" / "bee" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


def no_classes(folder: Path) -> Path:
    (folder / "train").mkdir()
    Image.new("RGB", (16, 16)).save(folder / "train" / "0.png")
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_folder, "none"),
        (no_train_folder, "train"),
        (empty_class, "cat"),
        (broken_image, "1.png"),
        (no_classes, "train"),
    ],
)
def test_a_bad_image_folder_is_refused(
    make: Callable[[Path], Path], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    code, message = search(capsys, tmp_path, with_folder(make(tmp_path / "data")))
    assert code == 2, message
    assert said in message


def test_a_cut_off_cifar_batch_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(bytes(3073 * 2 - 1))
    settings = {"format": "cifar10_binary", "directory": str(tmp_path), "reward_images": 2}
    code, said = search(capsys, tmp_path, changed("data", settings))
    assert (code, "data_batch_1.bin" in said) == (2, True)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("r1_k3_s11_e1_i32", "'o'"),
        ("r1_k3_s11_e1_i32_o16_z9", "'z9'"),
        ("r1_k3_s12_e1_i32_o16", "strides"),
        ("r0_k3_s11_e1_i32_o16", "layers"),
        ("r1_k4_s11_e1_i32_o16", "odd"),
        ("r1_k3_s11_e6_i32_o16_conv", "expand"),
        ("", "blocks[0]"),
    ],
)
def test_a_bad_block_string_is_refused(
    block: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "architecture.yaml"
    path.write_text(f"blocks: ['{block}']\n")
    code, message = run(capsys, "arch", "describe", path)
    assert code == 2, message
    assert said in message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("arch", "describe", "mnasnet-b2"), "mnasnet-b1"),
        (("arch", "describe", "mnasnet-b1", "--width", "0"), "width"),
        (("arch", "describe", "mnasnet-b1", "--image-size", "0"), "--image-size"),
        (("arch", "describe", "none/architecture.yaml"), "none/architecture.yaml"),
        (("space", "describe", "mnasnt"), "mnasnet"),
        (("phones", "measure", "none.onnx"), "none.onnx"),
        (("phones", "measure", "/dev/null", "--phone", "pixel"), "pixel"),
        (("phones", "measure", "/dev/null", "--runs", "0"), "runs"),
        (("search", "quickstrat"), "quickstart"),
        (("retrain", "mnasnet-a1", "--recipe", "cifar"), "cifar10"),
        (("retrain", "mnasnet-a1", "--trial", "1", "--recipe", "cifar10"), "--trial"),
        (("export", "mnasnet-a1", "--recipe", "cifar", "--out", "none/out"), "cifar10"),
        (("space", "latency", "tiny16", "--phone", "pixel"), "pixel"),
        (("space", "latency", "tiny16", "--count", "0"), "at least 1"),
        (("space", "latency", "tiny16", "--set", "session=3"), "unknown field 'session'"),
        (("serch", "x.yaml"), "search"),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = run(capsys, *arguments)
    assert code == 2, message
    assert said in message


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    code, said = run(capsys, "phones", "measure", path)
    assert code == 2, said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("search.trials", "KEY=VALUE"),
        ("search.trials=many", "search.trials"),
        ("search.trails=3", "trials"),
        ("search.trials=[", "--set search.trials"),
        ("training.epochs.more=3", "training.epochs.more"),
    ],
)
def test_a_bad_change_of_an_experiment_is_refused(
    change: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = run(capsys, "search", "quickstart", "--run-dir", tmp_path / "run", "--set", change)
    assert (code, said in message) == (2, True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["show", "best"])
def test_a_missing_run_is_named(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, command, tmp_path / "none")
    assert (code, "none" in said, "mnas search" in said) == (1, True, True)


@pytest.mark.parametrize("command", ["show", "best"])
def test_a_directory_without_a_run_is_named(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, command, tmp_path)
    assert (code, "no such run database" in said) == (1, True)


@pytest.mark.parametrize("command", ["show", "best"])
def test_a_damaged_run_is_named(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trials.sqlite").write_bytes(b"damaged" * 1000)
    code, said = run(capsys, command, tmp_path)
    assert (code, "damaged" in said) == (1, True)


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """A run directory in which a search has been started and one trial proposed."""
    path = tmp_path / "started.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    other_data = DigitsSettings(image_size=16, reward_images=50).load_search()
    with open_run(tmp_path / "run", Experiment.load(path), other_data) as store:
        store.propose(1, [Proposal(1, (0,), {"blocks": ["r1_k3_s11_e1_i8_o8"]}, "f")], {})
    return tmp_path


def test_a_run_without_a_complete_trial_has_no_best(started: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "best", started / "run")
    assert (code, "no trial is complete" in said) == (1, True)


def test_another_experiment_on_the_same_run_is_refused(started: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = search(capsys, started, changed("training.epochs", 7))
    assert (code, "training.epochs: 1 -> 7" in said, "--run-dir" in said) == (1, True, True)


def test_other_data_on_the_same_run_are_refused(started: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = search(capsys, started, GOOD)
    assert (code, "data has changed" in said) == (1, True)


def test_a_second_search_on_the_same_run_is_refused(started: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (started / "run" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = search(capsys, started, GOOD)
    assert (code, "another mnas search" in said) == (1, True)


def test_a_run_of_another_schema_is_refused(started: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(started / "run" / "trials.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    code, said = search(capsys, started, GOOD)
    assert (code, "schema version 99" in said) == (1, True)


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    code, said = search(capsys, tmp_path, GOOD)
    assert (code, "not empty" in said) == (1, True)
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != "lock"] == ["thesis.txt"]


def test_a_run_directory_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("a file stands here")
    code, said = search(capsys, tmp_path, GOOD)
    assert (code, "cannot create the run directory" in said, "--run-dir" in said) == (1, True, True)


def test_the_stored_run_is_untouched_by_refusals(started: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search(capsys, started, changed("training.epochs", 7))
    store = TrialStore(started / "run" / "trials.sqlite")
    assert [trial.state for trial in store.trials()] == ["proposed"]
