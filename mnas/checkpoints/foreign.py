"""Files of weights that other tools have written: named for what they are, with what can be done."""

from __future__ import annotations

from pathlib import Path

from mnas.checkpoints.checkpoint import CheckpointError

_PYTORCH = "a checkpoint of PyTorch"
# Suffixes are compared in lower case; `x.pth.tar` ends with one of two.
_NAMES = {
    ".pth": _PYTORCH,
    ".pt": _PYTORCH,
    ".pth.tar": _PYTORCH,
    ".h5": "weights of Keras",
    ".hdf5": "weights of Keras",
    ".keras": "a model of Keras",
    ".tflite": "a model of TensorFlow Lite",
    ".pb": "a graph of TensorFlow",
    ".onnx": "an ONNX model",
    ".mindir": "a model of MindSpore",
    ".npz": "arrays of NumPy",
}
# Files of PyTorch: a zip archive that holds a pickle (from 1.6 on), or pickles one after another.
_ZIP, _PICKLED = b"PK\x03\x04", b"data.pkl"
_BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization.MAGIC_NUMBER, pickled
_WEIGHTS = (".safetensors", ".ckpt")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD_BYTES = 4096


def check_not_foreign(path: Path) -> None:
    """Raise CheckpointError if a file is one of another tool's, by its content or its name.

    A pickle is not opened: it can run code.
    """
    kind = kind_of(path)
    if kind is None:
        return
    if kind == _PYTORCH:
        raise CheckpointError(
            f"{path}: {kind}, which mnas does not open, because it can run code; load it with PyTorch "
            "(torch.load(..., weights_only=True)), write its tensors under the names of mnas or MindCV with "
            "mindspore.save_checkpoint, and give that .ckpt with its architecture"
        )
    raise CheckpointError(
        f"{path}: {kind}, not a checkpoint; give a checkpoint of mnas (.safetensors), or a .ckpt of MindSpore under "
        "the names of mnas or MindCV with its architecture"
    )


def check_holds_no_weights(path: Path) -> None:
    """Raise CheckpointError if a file that should tell an architecture has weights, of any tool."""
    check_not_foreign(path)
    if path.suffix in _WEIGHTS and path.is_file():
        raise CheckpointError(
            f"{path}: holds weights, where an architecture is needed; give the architecture.yaml (or run directory, or "
            "reference network) that they belong to, and the weights to `mnas validate` or `mnas export --checkpoint`"
        )


def kind_of(path: Path) -> str | None:
    """Return what another tool's file is, in words; None for one that mnas may read, or none at all."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None  # whatever reads it says why it cannot
    if (head.startswith(_ZIP) and _PICKLED in head) or head.startswith(_BEFORE_1_6):
        return _PYTORCH
    if head.startswith(_HDF5):
        return _NAMES[".h5"]
    name = path.name.lower()
    return next((kind for suffix, kind in _NAMES.items() if name.endswith(suffix)), None)
