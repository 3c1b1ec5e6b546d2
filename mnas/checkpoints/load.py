"""Any file of weights that mnas reads: its own checkpoints, and MindSpore's together with an architecture."""

from __future__ import annotations

from pathlib import Path

from mnas.checkpoints.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from mnas.checkpoints.foreign import check_not_foreign
from mnas.checkpoints.mindspore import MINDSPORE_SUFFIX, load_mindspore_checkpoint
from mnas.data import ImageForm
from mnas.errors import ConfigurationError
from search_space import ArchitectureFile


def load_checkpoint(path: Path, architecture: ArchitectureFile | None, image_size: int | None) -> Checkpoint:
    """Read a checkpoint of mnas, or a `.ckpt` of MindSpore under the names of mnas or MindCV.

    Args:
        path: The file.
        architecture: The network of the weights. A `.ckpt` needs it; a checkpoint of mnas has its own, and one that is
            given must be the same.
        image_size: Size of the images of a `.ckpt`'s network, in pixels; None takes that of the architecture file, else
            224. A checkpoint of mnas has its own.

    Raises:
        CheckpointError: The file cannot be read or is of another network.
        ConfigurationError: The architecture is missing.
    """
    check_not_foreign(path)
    if path.suffix == MINDSPORE_SUFFIX:
        if architecture is None:
            raise ConfigurationError(
                f"{path}: a {MINDSPORE_SUFFIX} file holds weights only; say with --arch (and --width) of which network"
            )
        return load_mindspore_checkpoint(path, architecture, image_size=image_size)
    checkpoint = read_checkpoint(path)
    if architecture is not None:
        _check_same_network(path, checkpoint, architecture)
    return checkpoint


def _check_same_network(path: Path, checkpoint: Checkpoint, file: ArchitectureFile) -> None:
    if checkpoint.network() != ImageForm.of(checkpoint.input).lower(file.architecture):
        raise CheckpointError(
            f"{path}: holds the weights of {checkpoint.architecture.name or 'another network'}, not of "
            f"{file.name or 'this architecture'}; give the checkpoint of this architecture at this width"
        )
