import dataclasses
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from mnas.checkpoints.checkpoint import (
    Accuracy,
    Checkpoint,
    CheckpointError,
    Position,
    _digest,
    read_checkpoint,
    write_checkpoint,
)
from mnas.data import InputForm
from mnas.errors import WeightsError
from mnas.network.weights import initial_weights
from search_space import Architecture, ArchitectureFile, parse_block

OLD_CHECKPOINTS = Path(__file__).with_name("old_checkpoints")
ARCHITECTURE = ArchitectureFile(
    Architecture((parse_block("r1_k3_s22_e3_i8_o8"),), stem_filters=8, head_filters=16),
    name="small",
    lineage={"run": "runs/first", "trial": 3},
)
INPUT = InputForm(
    image_size=16,
    channels=1,
    mean=(0.5,),
    std=(0.25,),
    evaluation_crop=0.875,
    num_classes=3,
    class_names=("cat", "dog", "Ärger"),
)


def make_checkpoint() -> Checkpoint:
    weights = initial_weights(Checkpoint(ARCHITECTURE, INPUT, {}).network(), seed=0)
    return Checkpoint(
        architecture=ARCHITECTURE,
        input=INPUT,
        weights=weights,
        ema={name: value / 2 for name, value in weights.items()},
        training={"rmsprop.square": np.ones((2, 3), np.float32), "beta_power": np.float32(0.5) * np.ones(())},
        position=Position(epoch=2, step=17),
        counters={"loss_scale": 1024.0},
        accuracy=Accuracy(top1=0.5, top5=0.75, loss=1.25, images=8, of_ema=True),
    )


def test_a_checkpoint_reads_back_as_written(tmp_path: Path) -> None:
    written = make_checkpoint()
    write_checkpoint(tmp_path / "last.safetensors", written)
    read = read_checkpoint(tmp_path / "last.safetensors")
    for field in ("architecture", "input", "position", "counters", "accuracy"):
        assert getattr(read, field) == getattr(written, field)
    for field in ("weights", "ema", "training"):
        expected, found = getattr(written, field), getattr(read, field)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)


def test_the_best_weights_are_the_moving_average_where_there_is_one() -> None:
    checkpoint = make_checkpoint()
    assert checkpoint.best_weights() is checkpoint.ema
    assert dataclasses.replace(checkpoint, ema=None).best_weights() is checkpoint.weights


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, make_checkpoint())
    before = path.read_bytes()

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, dataclasses.replace(make_checkpoint(), position=Position(epoch=3)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_weights_of_another_network_are_not_written(tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    weights = {name: value for name, value in checkpoint.weights.items() if name != "stem.conv.weight"}
    with pytest.raises(WeightsError, match=r"stem\.conv\.weight"):
        write_checkpoint(tmp_path / "last.safetensors", dataclasses.replace(checkpoint, weights=weights))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, make_checkpoint())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"last\.safetensors: truncated, damaged"):
        read_checkpoint(path)


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, make_checkpoint())
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not have its checksum"):
        read_checkpoint(path)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "torch.ckpt"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data.pkl", b"payload" * 100)
    with pytest.raises(CheckpointError, match=r"no \.safetensors file"):
        read_checkpoint(archive)
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3, np.float32)}, foreign)
    with pytest.raises(CheckpointError, match="not a checkpoint of mnas"):
        read_checkpoint(foreign)
    with pytest.raises(CheckpointError, match="is a directory"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "absent.safetensors")


def test_a_newer_format_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.safetensors"
    monkeypatch.setattr("mnas.checkpoints.checkpoint.FORMAT_VERSION", 3)
    write_checkpoint(path, make_checkpoint())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="checkpoint format 3, this release of mnas reads 1 to 2"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "class_names"), [("named", ("cat", "dog", "Ärger")), ("unnamed", None)], ids=["named", "unnamed"]
)
def test_a_checkpoint_of_mnas_0_1_0_is_read(name: str, class_names: tuple[str, ...] | None) -> None:
    """Written by commit a5a36bd; where it knew no names it wrote 0, 1, ..."""
    old = read_checkpoint(OLD_CHECKPOINTS / f"{name}_of_0_1_0.safetensors")
    assert (old.input.num_classes, old.input.class_names) == (3, class_names)
    assert (old.architecture.name, old.position) == ("small", Position(epoch=2, step=30))


@pytest.mark.parametrize("class_names", [("0", "1", "2"), None], ids=["numbers", "unknown"])
def test_classes_that_are_called_by_numbers_are_not_taken_for_unknown(
    tmp_path: Path, class_names: tuple[str, ...] | None
) -> None:
    form = msgspec.structs.replace(INPUT, class_names=class_names)
    write_checkpoint(tmp_path / "last.safetensors", replace(make_checkpoint(), input=form))
    assert read_checkpoint(tmp_path / "last.safetensors").input.class_names == class_names


def test_other_tools_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    written = make_checkpoint()
    write_checkpoint(path, written)
    tensors = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(tensors["weights/stem.conv.weight"], written.weights["stem.conv.weight"])
    with safetensors.safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["mnas"])["architecture"]["blocks"] == ["r1_k3_s22_e3_i8_o8"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"accuracy": Accuracy(top1=0.5, top5=0.5, loss=float("nan"), images=8, of_ema=False)}, "accuracy.loss"),
        ({"counters": {"loss_sum": float("inf")}}, "counters.loss_sum"),
    ],
)
def test_a_number_that_could_not_be_read_back_is_not_written(changes: dict[str, Any], key: str, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, make_checkpoint())
    with pytest.raises(WeightsError, match=f"last.safetensors: not written, because `{key}`"):
        write_checkpoint(path, replace(make_checkpoint(), **changes))
    assert read_checkpoint(path).position.epoch == 2


@pytest.mark.parametrize("number", ["NaN", "null", "1e999", '"nan"'])
@pytest.mark.parametrize(
    ("key", "old"), [("accuracy.loss", '"loss":1.25'), ("counters.loss_scale", '"loss_scale":1024.0')]
)
def test_a_header_whose_number_is_not_finite_is_refused(number: str, key: str, old: str, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, make_checkpoint())
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert old in metadata["mnas"]
    changed = metadata["mnas"].replace(old, f"{old.partition(':')[0]}:{number}", 1)
    metadata = {"mnas": changed, "sha256": _digest(changed, tensors)}
    path.write_bytes(safetensors.numpy.save(tensors, metadata))
    with pytest.raises(CheckpointError, match=rf"last\.safetensors: .*{key}"):
        read_checkpoint(path)
