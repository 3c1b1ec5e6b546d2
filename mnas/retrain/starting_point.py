"""What a training starts from, if not from drawn weights: those of another training, on other data perhaps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mnas.checkpoints.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from mnas.checkpoints.load import load_checkpoint
from mnas.checkpoints.mindspore import MINDSPORE_SUFFIX
from mnas.data import ImageForm, InputForm
from mnas.documents.user_paths import path_text
from mnas.errors import ConfigurationError
from mnas.mindspore_setup import Compute, prepare_mindspore
from mnas.network.weights import Weights, initial_weights
from mnas.retrain.directory import INIT_FILE, InitRecord
from search_space import ArchitectureFile
from search_space.counting import layer_parameters
from search_space.lowering import Dense

_EXPORTED = "checkpoint.safetensors"  # in a folder that `mnas export` has written


@dataclass(frozen=True)
class StartingPoint:
    """Trained weights that a training starts from.

    Attributes:
        path: Where the user has them from.
        checkpoint: The network and its weights.
    """

    path: Path
    checkpoint: Checkpoint


@dataclass(frozen=True)
class FittedWeights:
    """Weights that fit the network of a training.

    Attributes:
        weights: Of every parameter.
        record: Where they are from, and why the classifier was drawn again.
    """

    weights: Weights
    record: InitRecord


def find_starting_point(
    path: Path, directory: Path, architecture: ArchitectureFile | None, compute: Compute
) -> StartingPoint:
    """Return the weights that a training starts from: those that it has kept since its start, else those of a file.

    Args:
        path: A checkpoint of mnas, a folder that `mnas export` has written, or a .ckpt of MindSpore under the names of
            mnas or MindCV. A training that has started does not need it any more.
        directory: The run directory of the training.
        architecture: The network. None takes that of the checkpoint; a .ckpt has none.
        compute: What the training computes on: reading a .ckpt loads MindSpore.

    Raises:
        CheckpointError: The file is missing, damaged or of another network.
        ConfigurationError: A .ckpt has come without its architecture.
    """
    if (kept := directory / INIT_FILE).is_file():
        return StartingPoint(path, read_checkpoint(kept))
    file = path / _EXPORTED if path.is_dir() else path
    if file.suffix == MINDSPORE_SUFFIX:
        if architecture is None:
            raise ConfigurationError(
                f"{path}: a {MINDSPORE_SUFFIX} file holds weights only; name the network that they are of, too"
            )
        prepare_mindspore(compute)
    # What images the network is to take now says nothing of those that it was trained on.
    network = None if architecture is None else replace(architecture, lineage={})
    return StartingPoint(path, load_checkpoint(file, network, None))


def fitted_weights(start: StartingPoint, architecture: ArchitectureFile, form: InputForm, seed: int) -> FittedWeights:
    """Return the weights of a starting point for the images that are trained on.

    The classifier is drawn again if the classes are others: their number, or their names if both are known.

    Args:
        start: The weights.
        architecture: The network that is trained.
        form: The images that it is trained on.
        seed: Decides the weights of a classifier that is drawn again.

    Raises:
        CheckpointError: A tensor is missing, has another shape, or holds numbers that are not finite.
    """
    network = ImageForm.of(form).lower(architecture.architecture)
    given, drawn = start.checkpoint.best_weights(), _why_drawn(start.checkpoint.input, form)
    classifier = {
        parameter.name
        for layer in network.layers()
        if isinstance(layer, Dense)
        for parameter in layer_parameters(layer)
    }
    weights = initial_weights(network, seed)
    for name, own in weights.items():
        if drawn and name in classifier:
            continue
        found = given.get(name)
        if found is None or found.shape != own.shape:
            shape = "is missing" if found is None else f"has the shape {found.shape}"
            raise CheckpointError(
                f"{start.path}: its tensor {name!r} {shape}, the network on this data needs {own.shape}; give a "
                f"checkpoint of this network, trained on images of {form.channels} channels"
            )
        if not np.isfinite(found).all():
            raise CheckpointError(
                f"{start.path}: its tensor {name!r} holds infinite numbers or NaN, so nothing can be trained from it; "
                "give an earlier checkpoint"
            )
        weights[name] = found
    return FittedWeights(weights, InitRecord(path=path_text(start.path), drawn=drawn))


def _why_drawn(before: InputForm, now: InputForm) -> str:
    if before.num_classes != now.num_classes:
        return f"the checkpoint has {before.num_classes} classes, the data {now.num_classes}"
    if None not in (before.class_names, now.class_names) and before.class_names != now.class_names:
        return "the classes of the checkpoint have other names than those of the data"
    return ""
