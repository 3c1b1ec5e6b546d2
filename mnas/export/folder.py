"""The exported folder: all of its files, or none of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnas.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from mnas.checkpoints.mindcv_names import to_mindcv
from mnas.checkpoints.mindspore import write_mindspore_weights
from mnas.errors import ConfigurationError, Error
from mnas.evaluation.classifiers import onnx_model_classifier
from mnas.export.diagram import network_svg
from mnas.export.mindir import run_mindir, write_mindir
from mnas.export.model_card import model_card
from mnas.export.onnx_file import onnx_bytes
from mnas.export.recipe_file import FittedRecipe, write_recipe
from mnas.export.scratch import NEW, put_in_place, scratch_folder
from mnas.export.subject import Subject
from search_space import write_architecture

ARCHITECTURE, CARD, DIAGRAM = "architecture.yaml", "README.md", "network.svg"
ONNX, MINDIR = "model.onnx", "model.mindir"
RECIPE = "recipe.yaml"
CHECKPOINT, MINDSPORE_CHECKPOINT, MINDCV_CHECKPOINT = "checkpoint.safetensors", "weights.ckpt", "weights_mindcv.ckpt"
_WHAT = {
    ARCHITECTURE: "block strings and lineage; `mnas retrain`, `mnas export` and `mnas arch describe` read it",
    RECIPE: f"how to train it: `mnas retrain {ARCHITECTURE} --recipe {RECIPE} --data DIR`",
    ONNX: "the network for phones: batch norms folded, any batch size, metadata",
    MINDIR: "the network for MindSpore Lite and Ascend, any batch size",
    CHECKPOINT: "the weights, for `mnas validate` and `mnas export`",
    MINDSPORE_CHECKPOINT: "the same weights as a checkpoint of MindSpore, under the names of mnas",
    MINDCV_CHECKPOINT: "the same weights as a checkpoint of MindSpore, under the names of MindCV's mnasnet",
    DIAGRAM: "the network as a diagram",
    CARD: "this text",
}
# Two engines add up float32 in another order. A difference far above this means that they do not compute the same
# network.
_TOLERANCE = 1e-3
_CHECKED_IMAGES = 3


class ExportError(Error):
    """A folder that cannot be written, or files in it that do not agree."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: The folder.
        files: Names of its files, sorted.
        difference: Largest difference between the logits of the ONNX and the MindIR graph, relative to the largest.
    """

    folder: Path
    files: tuple[str, ...]
    difference: float


def check_target(folder: Path, *, force: bool) -> None:
    """Raise ConfigurationError if `folder` must not be written: it exists, or `force` would remove foreign files."""
    if not folder.exists():
        return
    if not force:
        raise ConfigurationError(f"{folder}: exists already; choose another --out, or replace it with --force")
    if not folder.is_dir() or folder.is_symlink():
        raise ConfigurationError(f"{folder}: is no folder; choose another --out")
    if foreign := sorted(path.name for path in folder.iterdir() if path.name not in _WHAT):
        raise ConfigurationError(
            f"{folder}: holds {foreign[0]!r}, which no export has written; --force replaces exported folders only"
        )


def export(
    subject: Subject, folder: Path, *, recipe: FittedRecipe | None = None, mindcv: bool = False, force: bool = False
) -> Exported:
    """Write the folder of a subject. A reader sees no folder (or the old one) or the whole new one.

    The old and the new folder are exchanged in one step, or by two renames on a file system that cannot do that; see
    `exchange_folders`. The next export to the same place tidies up what a killed one has left.

    Args:
        subject: The network.
        folder: The folder to write.
        recipe: Added as recipe.yaml.
        mindcv: Add a checkpoint under MindCV's names.
        force: Replace an exported folder that is there.

    Raises:
        ConfigurationError: The folder must not be written; see `check_target`.
        WeightsError: MindCV has no such network.
        ExportError: The graphs do not agree, or the folder cannot be written.
    """
    check_target(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder) as scratch:
            draft = scratch / NEW
            draft.mkdir()
            if recipe is not None:
                write_recipe(draft / RECIPE, recipe)
            if mindcv:
                renamed = to_mindcv(subject.network, subject.checkpoint.best_weights())
                write_mindspore_weights(draft / MINDCV_CHECKPOINT, renamed)
            difference = _write(subject, draft)
            files = tuple(sorted(path.name for path in draft.iterdir()))
            put_in_place(scratch, folder)
    except OSError as error:
        raise ExportError(f"{folder}: cannot be written ({error.strerror or error}); choose another --out") from error
    return Exported(folder, files, difference)


def _write(subject: Subject, folder: Path) -> float:
    """Write all files that every export has, and return the difference of the two graphs."""
    network, checkpoint = subject.network, subject.checkpoint
    weights = checkpoint.best_weights()
    write_architecture(folder / ARCHITECTURE, checkpoint.architecture)
    (folder / DIAGRAM).write_text(
        network_svg(checkpoint.architecture.architecture, network, subject.name), encoding="utf-8"
    )
    onnx_model = onnx_bytes(subject)
    (folder / ONNX).write_bytes(onnx_model)
    write_mindir(folder / MINDIR, network, weights)
    write_mindspore_weights(folder / MINDSPORE_CHECKPOINT, weights)
    write_checkpoint(folder / CHECKPOINT, subject.released_checkpoint())
    _check_checkpoint(subject, folder / CHECKPOINT)
    difference = _difference(subject, onnx_model, folder / MINDIR)
    written = {name: what for name, what in _WHAT.items() if (folder / name).exists() or name == CARD}
    (folder / CARD).write_text(model_card(subject, written, difference), encoding="utf-8")
    return difference


def _check_checkpoint(subject: Subject, path: Path) -> None:
    read = read_checkpoint(path).weights
    if any(read[name].tobytes() != value.tobytes() for name, value in subject.checkpoint.best_weights().items()):
        raise ExportError(f"{path.name}: does not read back to the weights that were written; check the disk")


def _difference(subject: Subject, onnx_model: bytes, mindir: Path) -> float:
    """Return the largest difference of the two graphs' logits, relative to the largest logit."""
    form = subject.checkpoint.input
    shape = (_CHECKED_IMAGES, form.channels, form.image_size, form.image_size)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    by_onnx, by_mindir = onnx_model_classifier(onnx_model)(images), run_mindir(mindir, images)
    largest = max(float(np.abs(by_onnx).max()), float(np.finfo(np.float32).tiny))  # all zero is no error
    difference = float(np.abs(by_onnx - by_mindir).max()) / largest
    if not difference <= _TOLERANCE:  # NaN, too
        raise ExportError(
            f"{ONNX} and {MINDIR} differ by {difference:.1e} of the largest logit; the weights may be infinite or not "
            "numbers: validate the checkpoint"
        )
    return difference
