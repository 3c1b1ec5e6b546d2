"""Checkpoints: a network's weights in one file, with all that evaluation and further training need.

The file is in the safetensors format (https://github.com/huggingface/safetensors), which holds no code and which many
tools read. Tensors are named `weights/NAME`, `ema/NAME` and `training/NAME`; the header's metadata has two entries:
`mnas`, a JSON document (`CheckpointInfo`), and `sha256`, over that document and all tensors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from mnas.data import ImageForm, InputForm
from mnas.documents.check import convert
from mnas.documents.errors import DocumentError
from mnas.documents.json_text import parse_json
from mnas.errors import InputError, WeightsError
from mnas.files import fingerprint_of, write_atomically
from mnas.network.weights import FloatArray, Weights, check_weights
from search_space import ArchitectureFile, ArchitectureFileFields, LoweredNetwork, architecture_file_to_dict

FORMAT_VERSION = 2
_FIRST_VERSION = 1  # has no `num_classes`, and names the classes 0, 1, ... if their names are not known
CHECKPOINT_SUFFIX = ".safetensors"
ValidatedOn = Literal["test", "validation"]
Arrays = Mapping[str, npt.NDArray[np.generic]]


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged, or not of mnas."""


class Position(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a training has come.

    Attributes:
        epoch: Whole epochs that are done.
        step: Optimizer steps that are done.
    """

    epoch: Annotated[int, Meta(ge=0)] = 0
    step: Annotated[int, Meta(ge=0)] = 0


class Accuracy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of a validation.

    Attributes:
        top1: Share of the images whose label has the highest logit.
        top5: Share of the images whose label is among the five highest logits.
        loss: Mean cross entropy.
        images: Number of images.
        of_ema: Whether the weights were the moving average.
        on: The images: the test set, or the part of the training images that was held out.
    """

    top1: Annotated[float, Meta(ge=0, le=1)]
    top5: Annotated[float, Meta(ge=0, le=1)]
    loss: float
    images: Annotated[int, Meta(ge=0)]
    of_ema: bool
    on: ValidatedOn = "test"


@dataclass(frozen=True)
class Checkpoint:
    """A network with weights.

    Attributes:
        architecture: The architecture with its name and lineage.
        input: The images that the network takes.
        weights: By the parameter names of `search_space.counting.parameters`, batch-norm statistics included.
        ema: The moving average of the weights, if the training kept one; evaluation should prefer it.
        training: What else resuming needs (optimizer slots), by name; empty in a checkpoint that is only evaluated.
        position: How far the training has come.
        counters: Plain numbers that resuming needs in addition to `position`, such as a dynamic loss scale.
        accuracy: The validation of these weights, if there was one.
    """

    architecture: ArchitectureFile
    input: InputForm
    weights: Weights
    ema: Weights | None = None
    training: Arrays = field(default_factory=dict)
    position: Position = field(default_factory=Position)
    counters: Mapping[str, float] = field(default_factory=dict)
    accuracy: Accuracy | None = None

    def network(self) -> LoweredNetwork:
        """Return the network that the weights belong to."""
        return ImageForm.of(self.input).lower(self.architecture.architecture)

    def best_weights(self) -> Weights:
        """Return the weights to evaluate: the moving average if there is one."""
        return self.weights if self.ema is None else self.ema

    def with_best_weights(self, weights: Weights) -> Checkpoint:
        """Return the checkpoint with other weights to evaluate."""
        return replace(self, weights=weights) if self.ema is None else replace(self, ema=weights)


class _Info(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON document of a checkpoint file."""

    format_version: int
    architecture: ArchitectureFileFields
    input: InputForm
    position: Position
    counters: dict[str, float]
    accuracy: Accuracy | None


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint. Readers see the old file or the whole new one, also after a crash.

    Raises:
        WeightsError: The weights are not those of the network, or the loss or a counter is not finite.
        OSError: The file cannot be written.
    """
    write_atomically(Path(path), checkpoint_bytes(Path(path), checkpoint))


def checkpoint_bytes(path: Path, checkpoint: Checkpoint) -> bytes:
    """Return the content of the file of a checkpoint; `path` names it in messages.

    Raises WeightsError as `write_checkpoint`.
    """
    import safetensors.numpy

    _check_weights(checkpoint)
    _check_finite(path, checkpoint)
    info = msgspec.json.encode(
        {
            "format_version": FORMAT_VERSION,
            "architecture": architecture_file_to_dict(checkpoint.architecture),
            "input": checkpoint.input,
            "position": checkpoint.position,
            "counters": dict(checkpoint.counters),
            "accuracy": checkpoint.accuracy,
        }
    ).decode()
    groups = {"weights": checkpoint.weights, "ema": checkpoint.ema or {}, "training": checkpoint.training}
    tensors = {
        f"{group}/{name}": np.ascontiguousarray(value)
        for group, named in groups.items()
        for name, value in named.items()
    }
    metadata = {"mnas": info, "sha256": _digest(info, tensors)}
    return safetensors.numpy.save(tensors, metadata)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: There is no such file, it is damaged or truncated, it is no checkpoint of mnas or is of a newer
            version, or its weights are not those of its architecture.
    """
    path = Path(path)
    metadata, tensors = _read_safetensors(path)
    if "mnas" not in metadata:
        raise CheckpointError(
            f"{path}: a safetensors file, but not a checkpoint of mnas; give one that mnas has written"
        )
    if metadata.get("sha256") != _digest(metadata["mnas"], tensors):
        raise CheckpointError(f"{path}: damaged, its content does not have its checksum; restore it from a copy")
    info = _read_info(path, metadata["mnas"])
    groups: dict[str, dict[str, Any]] = {"weights": {}, "ema": {}, "training": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition("/")
        if group not in groups:
            raise CheckpointError(f"{path}: has a tensor {name!r} of no known group; restore it from a copy")
        groups[group][rest] = value
    checkpoint = Checkpoint(
        architecture=info.architecture.file(),
        input=info.input,
        weights=groups["weights"],
        ema=groups["ema"] or None,
        training=groups["training"],
        position=info.position,
        counters=info.counters,
        accuracy=info.accuracy,
    )
    try:
        _check_weights(checkpoint)
    except WeightsError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return checkpoint


def _check_finite(path: Path, checkpoint: Checkpoint) -> None:
    """Raise WeightsError for a number that JSON cannot hold: the file could not be read back."""
    numbers = {f"counters.{name}": value for name, value in checkpoint.counters.items()}
    if (accuracy := checkpoint.accuracy) is not None:
        numbers |= {"accuracy.top1": accuracy.top1, "accuracy.top5": accuracy.top5, "accuracy.loss": accuracy.loss}
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise WeightsError(
                f"{path}: not written, because `{name}` is {value}; the training has diverged: lower the learning "
                "rate, and go on from the last checkpoint"
            )


def _check_weights(checkpoint: Checkpoint) -> None:
    network = checkpoint.network()
    check_weights(network, checkpoint.weights)
    if checkpoint.ema is not None:
        check_weights(network, checkpoint.ema)


def _digest(info: str, tensors: Arrays) -> str:
    names = sorted(tensors)
    return fingerprint_of(info, *names, *(tensors[name] for name in names))


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, FloatArray]]:
    import safetensors

    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a directory; give the {CHECKPOINT_SUFFIX} file of a checkpoint")
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise CheckpointError(f"{path}: is no regular file; give the {CHECKPOINT_SUFFIX} file of a checkpoint")
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; give the {CHECKPOINT_SUFFIX} file of a checkpoint") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); check the file and its permissions") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path}: truncated, damaged or no {CHECKPOINT_SUFFIX} file ({error}); give a checkpoint that mnas has "
            "written"
        ) from error


def _read_info(path: Path, text: str) -> _Info:
    try:
        document: Any = parse_json(text, source=f"{path}: metadata")
        version = document.get("format_version") if isinstance(document, dict) else None
        if version == _FIRST_VERSION:
            document["input"] = _with_num_classes(document.get("input"))
        elif version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: checkpoint format {version}, this release of mnas reads {_FIRST_VERSION} to "
                f"{FORMAT_VERSION}; use the release that wrote it"
            )
        return convert(document, _Info, source=str(path))
    except DocumentError as error:
        raise CheckpointError(f"{error}; restore it from a copy") from error


def _with_num_classes(form: Any) -> Any:
    """Return the input of a checkpoint of the first version as the present one has it."""
    names = form.get("class_names") if isinstance(form, dict) else None
    if not isinstance(names, list):
        return form  # damaged, as the check against the schema will say
    unknown = names == [str(label) for label in range(len(names))]
    return {**form, "num_classes": len(names), "class_names": None if unknown else names}
