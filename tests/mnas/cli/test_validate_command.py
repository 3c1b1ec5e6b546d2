"""`mnas validate` as users run it, and what it answers to what they get wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnas.checkpoints.mindspore import write_mindspore_weights
from mnas.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line; return its exit code, its output and what it said."""
    try:
        code = main(["validate", *map(str, arguments)])
    except SystemExit as stop:  # argparse's way to refuse
        code = int(str(stop.code))
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def result(digits_checkpoint: Path) -> dict[str, Any]:
    """What the real command prints."""
    command = [sys.executable, "-m", "mnas", "validate", str(digits_checkpoint), "--data", "digits", "--json"]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert completed.stderr.startswith("mnas: loading the images\nimages: 360 of 360, 0:")
    found: dict[str, Any] = json.loads(completed.stdout)
    return found


def on_digits(capsys: pytest.CaptureFixture[str], checkpoint: Path, *more: object) -> tuple[int, str, str]:
    return run(capsys, checkpoint, "--data", "digits", "--engine", "onnx", *more)


def test_json_has_accuracy_and_cost(result: dict[str, Any]) -> None:
    assert (result["images"], result["network"], result["engine"]) == (360, "reader of digits", "mindspore")
    assert result["top1"] > 0.7
    assert result["top5"] >= result["top1"]
    assert result["loss"] > 0
    assert (result["trainable_params"], result["multiply_adds"]) == (2932, 43616)
    assert result["target"] is None


def test_the_engine_onnx_finds_the_same(
    result: dict[str, Any], digits_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = on_digits(capsys, digits_checkpoint, "--json")
    assert code == 0
    assert (json.loads(out)["top1"], json.loads(out)["top5"]) == (result["top1"], result["top5"])


def test_people_get_the_same_numbers(
    result: dict[str, Any], digits_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = on_digits(capsys, digits_checkpoint)
    assert f"top-1          {result['top1']:.2%} of 360 images" in out


def test_a_target_that_is_met_ends_with_0(digits_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, message = on_digits(capsys, digits_checkpoint, "--target-top1", 50)
    assert code == 0
    assert "target         met, " in out
    assert "missed" not in message


def test_a_missed_target_ends_with_1_and_says_by_how_much(
    result: dict[str, Any], digits_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, message = on_digits(capsys, digits_checkpoint, "--target-top1", 99.5, "--tolerance", 0.2)
    said = f"missed by {99.5 - 100 * result['top1']:.2f} points: top-1 is {result['top1']:.2%}"
    assert code == 1
    assert said in out
    assert message.endswith(f"\nmnas: {digits_checkpoint}: {said} (top-1 99.5%, tolerance 0.2 points)\n")


def test_json_tells_the_verdict(digits_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = on_digits(capsys, digits_checkpoint, "--target-top1", 99.5, "--json")
    target = json.loads(out)["target"]
    assert (code, target["met"], target["top1_percent"], target["tolerance"]) == (1, False, 99.5, 0.1)
    assert target["shortfall"] == pytest.approx(99.5 - 100 * json.loads(out)["top1"])


def test_a_tolerance_decides(
    result: dict[str, Any], digits_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = 100 * result["top1"] + 1
    assert on_digits(capsys, digits_checkpoint, "--target-top1", target, "--tolerance", 0.9)[0] == 1
    assert on_digits(capsys, digits_checkpoint, "--target-top1", target, "--tolerance", 1.1)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.safetensors", "--data", "digits"), "none.safetensors: no such file"),
        (("none.ckpt", "--data", "digits"), "say with --arch"),
        (("none.ckpt", "--data", "digits", "--arch", "mnasnet-b1"), "none.ckpt: no such file"),
        (("none.ckpt", "--data", "digits", "--arch", "mnasnet-b7"), "mnasnet-b1"),
        (("none.safetensors", "--data", "digits", "--width", "0.5"), "--width: is that of --arch"),
        (("none.safetensors",), "--data"),
        (("none.safetensors", "--data", "digits", "--target-top1", "101"), "from 0 to 100"),
        (("none.safetensors", "--data", "digits", "--target-top1", "0.64"), "for a fraction of 0.64 write 64"),
        (("none.safetensors", "--data", "digits", "--target-top1", "1"), "is in percent"),
        (("none.safetensors", "--data", "digits", "--tolerance", "-1"), "from 0 to 100"),
        (("none.safetensors", "--data", "digits", "--batch-size", "0"), "at least 1"),
        (("none.safetensors", "--data", "digits", "--engine", "tensorrt"), "mindspore"),
        (("none.safetensors", "--data", "digits", "--engine", "onnx", "--device", "Ascend"), "--device"),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, message = run(capsys, *arguments)
    assert (code, out) == (2, ""), message
    assert said in message


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_text(path: Path) -> None:
    path.write_text("no checkpoint")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, replace_by_text])
def test_a_damaged_checkpoint_is_refused(
    damage: Callable[[Path], None], digits_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "copy.safetensors"
    path.write_bytes(digits_checkpoint.read_bytes())
    damage(path)
    code, _, message = on_digits(capsys, path)
    assert (code, "copy.safetensors: " in message) == (2, True), message


def test_a_checkpoint_of_other_software_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mindspore_weights(tmp_path / "lenet.ckpt", {"conv1.weight": np.ones((6, 1, 5, 5), np.float32)})
    code, _, message = on_digits(capsys, tmp_path / "lenet.ckpt", "--arch", "mnasnet-b1")
    assert (code, "no first convolution" in message) == (2, True), message


def test_an_empty_folder_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, message = on_digits(capsys, tmp_path)
    assert (code, "has no checkpoint.safetensors" in message) == (2, True)


def test_another_architecture_than_the_checkpoints_is_refused(
    digits_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, message = on_digits(capsys, digits_checkpoint, "--arch", "mnasnet-a1", "--width", 0.5)
    assert (code, "not of mnasnet-a1 x0.5" in message) == (2, True), message


def no_folder(folder: Path) -> Path:
    return folder / "none"


def empty_folder(folder: Path) -> Path:
    return folder


def colour_images(folder: Path) -> Path:
    for name in ("ant", "bee"):
        (folder / "val" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(folder / "val" / name / "0.png")
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_folder, "none: no such folder"),
        (empty_folder, "no `test` or `val` folder"),
        (colour_images, "3 channels, the network takes 1"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    make: Callable[[Path], Path],
    said: str,
    digits_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, message = run(capsys, digits_checkpoint, "--data", make(tmp_path))
    assert (code, said in message) == (2, True), message
