import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mnas.checkpoints.checkpoint import CheckpointError
from mnas.checkpoints.image_input import conventional_input
from mnas.checkpoints.mindcv_names import to_mindcv
from mnas.checkpoints.mindspore import load_mindspore_checkpoint, read_mindspore_weights, write_mindspore_weights
from mnas.checkpoints.provenance import Provenance, ProvenanceInput
from mnas.documents.errors import DocumentError
from mnas.mindspore_setup import set_mindspore_environment
from mnas.network.weights import initial_weights
from search_space import Architecture, ArchitectureFile, lower, parse_block

# Of the form that MindCV has, as small as it can be.
BLOCKS = ("r1_k3_s11_e1_i8_o8_noskip", "r2_k3_s22_e3_i8_o8")
FILE = ArchitectureFile(Architecture(tuple(map(parse_block, BLOCKS)), stem_filters=8, head_filters=16), name="small")
NETWORK = lower(FILE.architecture, image_size=32, channels=3, num_classes=7)
WEIGHTS = initial_weights(NETWORK, seed=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_mindspore_weights(tmp_path / "small.ckpt", WEIGHTS)
    return tmp_path / "small.ckpt"


def test_weights_read_back_exactly(path: Path) -> None:
    read = read_mindspore_weights(path)
    assert read.keys() == WEIGHTS.keys()
    assert all(np.array_equal(read[name], value) for name, value in WEIGHTS.items())


def test_mindspore_itself_reads_the_file(path: Path) -> None:
    set_mindspore_environment()
    import mindspore

    loaded = mindspore.load_checkpoint(str(path))
    np.testing.assert_array_equal(loaded["classifier.weight"].asnumpy(), WEIGHTS["classifier.weight"])


def test_a_file_may_be_replaced(path: Path) -> None:
    write_mindspore_weights(path, {**WEIGHTS, "classifier.bias": np.ones(7, np.float32)})
    assert read_mindspore_weights(path)["classifier.bias"].tolist() == [1.0] * 7


@pytest.mark.parametrize("names", ["ours", "mindcv"])
def test_classes_and_channels_are_read_off_the_weights(names: str, tmp_path: Path) -> None:
    named = WEIGHTS if names == "ours" else to_mindcv(NETWORK, WEIGHTS)
    write_mindspore_weights(tmp_path / "small.ckpt", named)
    checkpoint = load_mindspore_checkpoint(tmp_path / "small.ckpt", FILE, image_size=32)
    assert checkpoint.network() == NETWORK
    assert all(np.array_equal(checkpoint.weights[name], value) for name, value in WEIGHTS.items())


def test_half_precision_weights_become_single(tmp_path: Path) -> None:
    write_mindspore_weights(tmp_path / "half.ckpt", {"w": np.ones(3, np.float16)})
    assert read_mindspore_weights(tmp_path / "half.ckpt")["w"].dtype == np.float32


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such file"):
        read_mindspore_weights(tmp_path / "none.ckpt")


def damaged(path: Path, damage: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    match damage:
        case "truncated":
            path.write_bytes(content[:middle])
        case "one byte changed":
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("no checkpoint")
        case "PyTorch":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")


@pytest.mark.parametrize("damage", ["truncated", "one byte changed", "empty", "text", "PyTorch"])
def test_a_damaged_or_foreign_file_is_refused(damage: str, path: Path) -> None:
    damaged(path, damage)
    with pytest.raises(CheckpointError, match=r"small\.ckpt: truncated, damaged or no \.ckpt file"):
        read_mindspore_weights(path)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    write_mindspore_weights(tmp_path / "lenet.ckpt", {"conv1.weight": np.ones((6, 1, 5, 5), np.float32)})
    with pytest.raises(CheckpointError, match=r"lenet\.ckpt: has no first convolution"):
        load_mindspore_checkpoint(tmp_path / "lenet.ckpt", FILE, image_size=32)


def test_weights_of_another_network_are_refused_with_the_files_name(path: Path) -> None:
    other = ArchitectureFile(FILE.architecture.scaled(2.0))
    with pytest.raises(CheckpointError, match=r"small\.ckpt: weights 'stem\.conv\.weight' have shape"):
        load_mindspore_checkpoint(path, other, image_size=32)


RECORDED = msgspec.structs.replace(
    conventional_input(32, 3, 7),
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    evaluation_crop=0.8,
    interpolation="bicubic",
    class_names=tuple("abcdefg"),
)


def recording(form: dict[str, object]) -> ArchitectureFile:
    return ArchitectureFile(FILE.architecture, name="small", lineage={"input": form})


def test_the_input_is_what_the_architecture_file_records(path: Path) -> None:
    file = recording(Provenance(input=ProvenanceInput.of(RECORDED)).lineage()["input"])
    assert load_mindspore_checkpoint(path, file, image_size=None).input == RECORDED


def test_what_the_architecture_file_does_not_record_is_by_convention(path: Path) -> None:
    file = recording({"image_size": 32, "channels": 3, "num_classes": 7, "mean": [0.1, 0.2, 0.3]})
    expected = msgspec.structs.replace(conventional_input(32, 3, 7), mean=(0.1, 0.2, 0.3))
    assert load_mindspore_checkpoint(path, file, image_size=None).input == expected


def test_another_image_size_keeps_the_recorded_normalization(path: Path) -> None:
    file = recording(Provenance(input=ProvenanceInput.of(RECORDED)).lineage()["input"])
    loaded = load_mindspore_checkpoint(path, file, image_size=48)
    assert loaded.input == msgspec.structs.replace(RECORDED, image_size=48)


def test_an_input_of_other_classes_than_the_weights_is_refused(path: Path) -> None:
    file = recording({"image_size": 32, "channels": 3, "num_classes": 10})
    with pytest.raises(CheckpointError, match=r"small\.ckpt: its weights have 7 classes, .* records an input of 10"):
        load_mindspore_checkpoint(path, file, image_size=None)


def test_a_recorded_normalization_needs_a_value_for_each_channel(path: Path) -> None:
    file = recording({"image_size": 32, "channels": 3, "num_classes": 7, "mean": [0.5]})
    with pytest.raises(DocumentError, match="`mean` has 1 values; 3 are needed"):
        load_mindspore_checkpoint(path, file, image_size=None)
