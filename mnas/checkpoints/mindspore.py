"""MindSpore's own checkpoints (`.ckpt`): weights by name and nothing else, under the names of mnas or MindCV."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from mnas.checkpoints.checkpoint import Checkpoint, CheckpointError
from mnas.checkpoints.image_input import CONVENTIONAL_SIZE, conventional_input
from mnas.checkpoints.mindcv_names import from_mindcv, has_mindcv_names
from mnas.checkpoints.provenance import recorded_input
from mnas.data import ImageForm, InputForm
from mnas.errors import WeightsError
from mnas.mindspore_setup import set_mindspore_environment
from mnas.network.weights import FloatArray, Weights, check_weights
from search_space import ArchitectureFile

MINDSPORE_SUFFIX = ".ckpt"
# The weights of the first and the last layer, under the names of mnas and MindCV. Their shapes give the number of
# channels and of classes.
_FIRST = ("stem.conv.weight", "features.0.weight")
_LAST = "classifier.weight"


def load_mindspore_checkpoint(path: Path, architecture: ArchitectureFile, *, image_size: int | None) -> Checkpoint:
    """Read a `.ckpt` file as the weights of an architecture.

    The preparation of images is that of the architecture file (`lineage.input`). If the file records none, it comes
    from convention, and the numbers of channels and classes from the weights.

    Args:
        path: The file.
        architecture: The network of the weights.
        image_size: Height and width of its input, in pixels; None takes that of the architecture file, else 224.

    Raises:
        CheckpointError: The file cannot be read, its weights are not exactly those of the architecture, or they have
            other channels or classes than the architecture file records.
        DocumentError: What the architecture file records of its input has another form.
    """
    weights = read_mindspore_weights(path)
    first = next((weights[name] for name in _FIRST if name in weights), None)
    last = weights.get(_LAST)
    if first is None or last is None or first.ndim != 4 or last.ndim != 2:
        raise CheckpointError(
            f"{path}: has no first convolution ({' or '.join(_FIRST)}) or no {_LAST}; give a checkpoint of a network "
            "that mnas or MindCV's mnasnet has made"
        )
    form = _input_form(path, architecture, image_size, channels=first.shape[1], num_classes=last.shape[0])
    network = ImageForm.of(form).lower(architecture.architecture)
    try:
        if has_mindcv_names(weights):
            weights = from_mindcv(network, weights)
        check_weights(network, weights)
    except WeightsError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(architecture, form, weights)


def _input_form(
    path: Path, architecture: ArchitectureFile, image_size: int | None, *, channels: int, num_classes: int
) -> InputForm:
    recorded = recorded_input(architecture, architecture.name or "architecture")
    if recorded is None:
        return conventional_input(image_size or CONVENTIONAL_SIZE, channels, num_classes)
    for what, found, said in (
        ("channels", channels, recorded.channels),
        ("classes", num_classes, recorded.num_classes),
    ):
        if found != said:
            raise CheckpointError(
                f"{path}: its weights have {found} {what}, but {architecture.name or 'the architecture file'} records "
                f"an input of {said} (`lineage.input`); give the file that belongs to these weights, or correct or "
                "remove `lineage.input` in it"
            )
    return recorded if image_size is None else msgspec.structs.replace(recorded, image_size=image_size)


def read_mindspore_weights(path: Path) -> dict[str, FloatArray]:
    """Read every tensor of a `.ckpt` file as float32.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give a {MINDSPORE_SUFFIX} file of MindSpore")
    set_mindspore_environment()
    import mindspore

    try:
        # The checksum is compared if the file has one; MindCV's have none.
        loaded = mindspore.load_checkpoint(str(path), crc_check=True)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: truncated, damaged or no {MINDSPORE_SUFFIX} file of MindSpore; restore it from a copy"
        ) from error
    tensors = {name: value for name, value in loaded.items() if isinstance(value, mindspore.Tensor)}
    return {name: np.array(value.asnumpy(), np.float32) for name, value in tensors.items()}


def write_mindspore_weights(path: Path, weights: Weights) -> None:
    """Write a `.ckpt` file with a checksum.

    Raises:
        OSError: The file cannot be written.
    """
    set_mindspore_environment()
    import mindspore

    named = [{"name": name, "data": mindspore.Tensor(value)} for name, value in weights.items()]
    mindspore.save_checkpoint(named, str(path), crc_check=True)
    path.chmod(0o644)  # MindSpore leaves it without the right to write
