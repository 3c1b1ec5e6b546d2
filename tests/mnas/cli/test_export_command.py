"""`mnas export` as users run it, and what it answers to what they get wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mnas.checkpoints.mindcv_names import to_mindcv
from mnas.checkpoints.mindspore import write_mindspore_weights
from mnas.cli import main
from mnas.network.weights import initial_weights
from search_space import lower, reference

SMALL = ("mnasnet-b1", "--width", "0.5", "--image-size", "32", "--classes", "10")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line; return its exit code, its output and what it said."""
    try:
        code = main(["export", *map(str, arguments)])
    except SystemExit as stop:  # argparse's way to refuse
        code = int(str(stop.code))
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def test_a_run_is_exported_with_its_best_trial(
    searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, searched_run, "--out", tmp_path / "found")
    assert code == 0
    assert "trial 2 of digits" in out
    assert "not trained; give --checkpoint" in out
    assert (tmp_path / "found" / "README.md").read_text().startswith("# trial 2 of digits")


def test_json_is_the_only_output_of_the_real_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mnas", "export", *SMALL, "--out", str(tmp_path / "b1"), "--mindcv", "--json"]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    result: dict[str, Any] = json.loads(completed.stdout)
    assert (result["weights"], result["num_classes"], result["trainable_params"]) == ("initial", 10, 950322)
    assert "weights_mindcv.ckpt" in result["files"]
    assert result["difference"] < 1e-4
    assert all(line.startswith(("mnas: loading", "mnas: writing")) for line in completed.stderr.splitlines())


def test_a_checkpoint_with_mindcvs_names_is_exported_as_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = lower(reference("mnasnet-b1").architecture.scaled(0.5), image_size=32, num_classes=10)
    write_mindspore_weights(tmp_path / "theirs.ckpt", to_mindcv(network, initial_weights(network, seed=3)))
    code, out, _ = run(capsys, *SMALL, "--checkpoint", tmp_path / "theirs.ckpt", "--out", tmp_path / "b1")
    assert code == 0
    assert "weights        trained" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mnasnet-a7",), "mnasnet-a1"),
        (("runs/none",), "runs/none: no such run directory"),
        (("none.yaml",), "none.yaml"),
        (("mnasnet-a1", "--trial", "3"), "only a run has trials"),
        (("mnasnet-a1", "--width", "0"), "width"),
        (("mnasnet-a1", "--image-size", "0"), "--image-size"),
        (("mnasnet-a1", "--classes", "0"), "--classes"),
        (("mnasnet-a1", "--channels", "5"), "--channels"),
        (("mnasnet-a1", "--checkpoint", "none.safetensors"), "none.safetensors: no such file"),
        (("mnasnet-a1", "--checkpoint", "none.ckpt"), "none.ckpt: no such file"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, message = run(capsys, *arguments, "--out", tmp_path / "out")
    assert (code, out) == (2, ""), message
    assert said in message
    assert list(tmp_path.iterdir()) == []


def test_the_folder_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, message = run(capsys, "mnasnet-a1")
    assert (code, "--out" in message) == (2, True)


def test_an_existing_folder_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, message = run(capsys, "no such network", "--out", tmp_path)
    assert (code, "exists already" in message) == (2, True)


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, message = run(capsys, tmp_path, "--out", tmp_path / "out")
    assert (code, "no such run database" in message) == (1, True)


@pytest.mark.parametrize(("trial", "said"), [(3, "trial 3 is failed"), (99, "no trial 99")])
def test_a_trial_without_a_network_to_export_is_refused(
    trial: int, said: str, searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, message = run(capsys, searched_run, "--trial", trial, "--out", tmp_path / "out")
    assert (code, said in message) == (1, True), message


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint", bytes(1000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_checkpoint_is_refused(
    suffix: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    code, _, message = run(capsys, *SMALL, "--checkpoint", path, "--out", tmp_path / "out")
    assert (code, f"bad{suffix}: " in message) == (2, True), message


def test_a_checkpoint_of_another_network_is_refused(
    digits_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, message = run(capsys, "mnasnet-a1", "--checkpoint", digits_checkpoint, "--out", tmp_path / "out")
    assert (code, "reader of digits, not of mnasnet-a1" in message) == (2, True), message


def test_mindcvs_names_are_refused_where_mindcv_has_no_such_network(
    searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, message = run(capsys, searched_run, "--mindcv", "--out", tmp_path / "out")
    assert (code, "MnasNet-B1's form" in message) == (1, True)
    assert list(tmp_path.iterdir()) == []
