"""Validation: the accuracy of a checkpoint or of an exported folder on a test set, against a target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mnas.checkpoints.checkpoint import Checkpoint, CheckpointError
from mnas.checkpoints.load import load_checkpoint
from mnas.data import ImageSource
from mnas.errors import WeightsError
from mnas.evaluation.accuracy import BATCH_SIZE, Evaluation, Evaluator
from mnas.evaluation.classifiers import Engine
from mnas.export.folder import CHECKPOINT, ONNX
from mnas.export.onnx_file import read_onnx
from mnas.files import RunDirectoryError
from mnas.mindspore_setup import Compute
from mnas.search.run import Run
from mnas.search.run_directory import read_store
from mnas.search.trial import Trial
from mnas.search.weights import read_weights
from search_space import ArchitectureFile


@dataclass(frozen=True)
class Model:
    """A network to validate.

    Attributes:
        checkpoint: The network and its weights.
        onnx: The model file of an exported folder; None for a bare checkpoint.
    """

    checkpoint: Checkpoint
    onnx: bytes | None = None


@dataclass(frozen=True)
class Target:
    """The top-1 accuracy to reach, less a tolerance; both in percent."""

    top1_percent: float
    tolerance: float = 0.1

    def shortfall(self, evaluation: Evaluation) -> float:
        """Return by how many percentage points an accuracy misses `top1_percent`; negative if it is above."""
        return self.top1_percent - 100 * evaluation.top1

    def is_met(self, evaluation: Evaluation) -> bool:
        """Return whether an accuracy is at most the tolerance below the target."""
        return self.shortfall(evaluation) <= self.tolerance + 1e-9  # 70.0 - 69.9 is a little more than 0.1


def open_model(path: Path, architecture: ArchitectureFile | None = None, image_size: int | None = None) -> Model:
    """Read a checkpoint, or a folder that `mnas export` has written.

    Args:
        path: The file or the folder.
        architecture: The network; needed for a checkpoint of MindSpore (.ckpt), otherwise checked.
        image_size: Input of the network of a .ckpt, in pixels; None takes that of the architecture file, else 224.

    Raises:
        CheckpointError: It is missing, damaged or of another network than `architecture`.
    """
    if not path.is_dir():
        return Model(load_checkpoint(path, architecture, image_size))
    if not (path / CHECKPOINT).is_file():
        raise CheckpointError(
            f"{path}: has no {CHECKPOINT}; give a folder that `mnas export` has written, or a checkpoint's file"
        )
    checkpoint = load_checkpoint(path / CHECKPOINT, architecture, image_size)
    return Model(checkpoint, read_onnx(path / ONNX, checkpoint.network()))


def open_trial(directory: Path, trial_id: int | None) -> tuple[Model, Run, Trial]:
    """Read the trained weights that a search has kept of a trial; None takes the best trial.

    Raises:
        CheckpointError: None are kept, or the file is damaged.
        RunDirectoryError: The run has no such complete trial.
        StoreError: There is no run, or no trial of that number.
    """
    run = Run.open(directory)
    trial = run.best() if trial_id is None else run.trial(trial_id)
    return Model(read_weights(run, trial)), run, trial


def reward_images(run: Run) -> ImageSource:
    """Load the held-out training images that the accuracies of a run are of.

    Raises:
        DataError: The images cannot be loaded.
        RunDirectoryError: They are not those of the run any more.
    """
    data = run.experiment.data.load_search()
    with read_store(run.directory) as store:
        fingerprint = store.meta().get("data_fingerprint")
    if data.fingerprint() != fingerprint:
        raise RunDirectoryError(
            f"{run.directory}: the images have changed since its search, so its accuracies cannot be repeated; bring "
            "them back, or give a test set (--data)"
        )
    return data.reward


def evaluate_model(
    model: Model,
    source: ImageSource,
    *,
    engine: Engine | None = None,
    compute: Compute = Compute(),
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Evaluate a model on every image of `source`.

    The engine `onnx` runs the folder's own model.onnx, or the same graph made from a bare checkpoint. The engine
    `mindspore` builds the network from the checkpoint.

    Args:
        model: The network and its weights.
        source: The images and their labels.
        engine: What computes; None takes the faster engine on the device.
        compute: The device of `mindspore`, and the threads of either engine.
        batch_size: Images at a time.
        on_batch: Called after each batch with the number of images done so far.

    Raises:
        DataError: The images do not fit the network or cannot be read.
        WeightsError: The answers of the network are not finite numbers.
    """
    evaluator = Evaluator(model.checkpoint.network(), source, engine, compute, batch_size=batch_size)
    if evaluator.engine == "onnx" and model.onnx is not None:
        evaluation = evaluator.evaluate_onnx(model.onnx, on_batch)
    else:
        evaluation = evaluator.evaluate(model.checkpoint.best_weights(), on_batch)
    if not math.isfinite(evaluation.loss):
        raise WeightsError(
            f"the network's loss on these images is {evaluation.loss}: its weights are damaged or its training diverged"
        )
    return evaluation
