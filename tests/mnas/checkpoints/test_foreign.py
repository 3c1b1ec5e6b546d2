import io
import pickle
import zipfile
from pathlib import Path

import pytest

from mnas.checkpoints.checkpoint import CheckpointError
from mnas.checkpoints.foreign import check_not_foreign, kind_of
from mnas.checkpoints.load import load_checkpoint
from mnas.cli import main
from mnas.export.source import find_source


def pytorch_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", b"")
    return file.getvalue()


OLD_PYTORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.pth", b"", "PyTorch"),
        ("A.PT", b"", "PyTorch"),
        ("a.pth.tar", b"", "PyTorch"),
        ("a.ckpt", pytorch_archive(), "PyTorch"),
        ("weights", OLD_PYTORCH, "PyTorch"),
        ("a.h5", b"", "Keras"),
        ("a.tflite", b"", "TensorFlow Lite"),
        ("a.onnx", b"", "ONNX"),
    ],
)
def test_a_file_of_another_tool_is_named(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: .*{kind}.*give"):
        check_not_foreign(tmp_path / name)


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors", "a.yaml", "missing.pth"])
def test_other_files_pass(name: str, tmp_path: Path) -> None:
    if not name.startswith("missing"):
        # A header of safetensors of 640 bytes begins like a pickle.
        (tmp_path / name).write_bytes(b"\x80\x02\x00\x00\x00\x00\x00\x00{}")
    assert kind_of(tmp_path / name) is None


def test_weights_of_pytorch_are_refused_as_a_checkpoint_and_as_a_network(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(pytorch_archive())
    with pytest.raises(CheckpointError, match="weights_only=True"):
        load_checkpoint(path, None, image_size=None)
    with pytest.raises(CheckpointError, match="weights_only=True"):
        find_source(str(path))


def test_weights_of_keras_are_known_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "weights.dat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    assert kind_of(tmp_path / "weights.dat") == "weights of Keras"


@pytest.mark.parametrize(
    "command",
    [
        ["retrain", "FILE", "--recipe", "cifar10"],
        ["export", "FILE", "--out", "out"],
        ["validate", "FILE", "--data", "digits", "--arch", "FILE"],
    ],
    ids=["retrain", "export", "validate"],
)
def test_weights_where_an_architecture_is_needed_are_told(
    command: list[str], digits_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"FILE": str(digits_checkpoint), "out": str(tmp_path / "out")}
    assert main([given.get(word, word) for word in command]) == 2
    assert "digits.safetensors: holds weights, where an architecture is needed" in capsys.readouterr().err
