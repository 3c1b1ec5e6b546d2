"""Validation: what the weights of a checkpoint or of an exported folder are worth on a test set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mnas.checkpoints.checkpoint import Checkpoint, CheckpointError
from mnas.checkpoints.load import load_checkpoint
from mnas.data import (
    ImageSource,
)
from mnas.data.source import check_source
from mnas.errors import WeightsError
from mnas.evaluation.accuracy import Evaluation, score
from mnas.evaluation.classifiers import Classify, MindSporeClassifier, onnx_classifier, onnxruntime_classifier
from mnas.export.folder import CHECKPOINT, ONNX
from mnas.export.onnx_file import read_onnx
from mnas.mindspore_setup import Compute
from search_space import ArchitectureFile

Engine = Literal["mindspore", "onnx"]


@dataclass(frozen=True)
class Model:
    """A network to validate; `onnx` is the model file of an exported folder, None for a bare checkpoint."""

    checkpoint: Checkpoint
    onnx: bytes | None = None


@dataclass(frozen=True)
class Target:
    """The top-1 accuracy to reach, less a tolerance; both in percent."""

    top1_percent: float
    tolerance: float = 0.1

    def shortfall(self, evaluation: Evaluation) -> float:
        """Return by how many percentage points an accuracy misses `top1_percent`; negative where it is above."""
        return self.top1_percent - 100 * evaluation.top1

    def is_met(self, evaluation: Evaluation) -> bool:
        """Return whether an accuracy is at most the tolerance below the target."""
        return self.shortfall(evaluation) <= self.tolerance + 1e-9  # 70.0 - 69.9 is a little more than 0.1


def open_model(path: Path, architecture: ArchitectureFile | None = None, image_size: int = 224) -> Model:
    """Read a checkpoint (see `load_checkpoint`) or a folder that `mnas export` has written.

    Raises CheckpointError where it is missing, damaged or of another network than `architecture`.
    """
    if not path.is_dir():
        return Model(load_checkpoint(path, architecture, image_size))
    if not (path / CHECKPOINT).is_file():
        raise CheckpointError(
            f"{path}: has no {CHECKPOINT}; give a folder that `mnas export` has written, or a checkpoint's file"
        )
    checkpoint = load_checkpoint(path / CHECKPOINT, architecture, image_size)
    return Model(checkpoint, read_onnx(path / ONNX, checkpoint.network()))


def validate(
    model: Model,
    source: ImageSource,
    *,
    engine: Engine,
    batch_size: int = 64,
    compute: Compute = Compute(),
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Evaluate a model on every image of `source`; `on_batch` is told how many are done.

    The engine `onnx` runs the folder's own model.onnx, or the same graph made from a bare checkpoint, with onnxruntime
    on the CPU; `mindspore` builds the network from the checkpoint. Raises DataError where the images do not fit the
    network or cannot be read, WeightsError where its answers are not finite numbers.
    """
    network, weights = model.checkpoint.network(), model.checkpoint.best_weights()
    check_source(network, source)
    classify: Classify
    if engine == "mindspore":
        classify = MindSporeClassifier(network, weights, batch_size, compute)
    elif model.onnx is not None:
        classify = onnx_classifier(model.onnx, compute)
    else:
        classify = onnxruntime_classifier(network, weights, compute)
    evaluation = score(classify, source, batch_size, on_batch)
    if not math.isfinite(evaluation.loss):
        raise WeightsError(
            f"the network's loss on these images is {evaluation.loss}: its weights are damaged or its training diverged"
        )
    return evaluation
