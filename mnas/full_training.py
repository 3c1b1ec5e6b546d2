"""Full training of one network, and its validation on a test set: what `mnas retrain` and `mnas validate` do."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mnas import validation
from mnas.data import ImageSource, load_images
from mnas.errors import ConfigurationError
from mnas.evaluation.accuracy import Evaluation
from mnas.evaluation.classifiers import Engine
from mnas.machine.check import require_machine
from mnas.mindspore_setup import Compute, prepare_mindspore
from mnas.retrain.loop import RetrainObserver, SilentObserver
from mnas.retrain.recipe import Recipe, open_recipe
from mnas.retrain.retrain import RetrainResult, retrain
from mnas.retrain.starting_point import find_starting_point
from search_space import Architecture, ArchitectureFile, find_architecture_file


def train(
    architecture: Architecture | str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    width: float = 1.0,
    init: str | os.PathLike[str] | None = None,
    observer: RetrainObserver | None = None,
) -> RetrainResult:
    """Train a network fully by a recipe, or go on with the training that is in the directory.

    Whatever stops the training, the same call goes on from the last checkpoint. It trains in this process, on one
    device; `mnas retrain --cards` trains on several.

    Args:
        architecture: The network: an architecture, the name of a reference network, or the path of an architecture
            file.
        recipe: How to train: a recipe, the name of a bundled one, or the path of a YAML file (MindCV's files, too).
        directory: The run directory; made if it is new.
        data: The folder of the images. None takes what the recipe says.
        width: Multiplies every width of the network but the head's.
        init: The weights to start from: a checkpoint of mnas, an exported folder, or a .ckpt of MindSpore under the
            names of mnas or MindCV. For other classes the classifier is drawn again. None draws all weights.
        observer: Is told what happens. An exception that it raises ends the training.

    Returns:
        The accuracy after the last step, and the checkpoints.

    Raises:
        ConfigurationError: There is no such recipe, or it does not fit the network, the data or the device.
        DocumentError: The recipe or the architecture file cannot be read or does not fit its schema.
        SpaceError: There is no such reference network.
        DataError: The images cannot be loaded.
        RunDirectoryError: The directory is that of another training.
        CheckpointError: The last checkpoint is damaged, or `init` does not fit the network.
        TrainingError: The training failed.
    """
    chosen = open_recipe(recipe, data)
    file = _architecture_file(architecture)
    scaled = replace(file, architecture=file.architecture.scaled(width))
    require_machine(chosen.device)
    prepare_mindspore(chosen.compute)
    folder = Path(directory)
    start = None if init is None else find_starting_point(Path(init), folder, scaled, chosen.compute)
    result = retrain(scaled, chosen, folder, observer or SilentObserver(), start=start)
    assert result is not None, "this is the only process"
    return result


def validate(
    model: str | os.PathLike[str],
    *,
    data: ImageSource | str | os.PathLike[str],
    engine: Engine | None = None,
    architecture: Architecture | str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    compute: Compute = Compute(),
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measure the accuracy of a trained network on a test set.

    Args:
        model: A folder that `Run.export` or `mnas export` has written, a checkpoint of a full training, or a .ckpt of
            MindSpore under the names of mnas or MindCV.
        data: The images: a folder with test/CLASS/* or val/CLASS/*, one with CIFAR-10's binary batches, "digits" (those
            that come with mnas), or an image source of the network's form.
        engine: What computes: "onnx" (onnxruntime with the exported model, on the CPU) or "mindspore". None takes the
            faster one on the device.
        architecture: The network; needed for a .ckpt of MindSpore, otherwise it is checked.
        image_size: Height and width of the images of a .ckpt's network, in pixels. None takes what the architecture
            file records (`lineage.input`), else 224.
        compute: The device of MindSpore, and the threads of either engine.
        on_batch: Called after each batch with the number of images done so far.

    Raises:
        ConfigurationError: The engine does not compute on the device.
        CheckpointError: The model is missing, damaged or of another network than `architecture`.
        DataError: The images are missing or do not fit the network.
        WeightsError: The answers of the network are not finite numbers.
    """
    if engine == "onnx" and compute.device != "CPU":
        raise ConfigurationError('engine="onnx" computes on the CPU; leave the device out, or use engine="mindspore"')
    file = None if architecture is None else _architecture_file(architecture)
    opened = validation.open_model(Path(model), file, image_size)
    source = load_images(os.fspath(data), opened.checkpoint.input) if isinstance(data, str | os.PathLike) else data
    return validation.evaluate_model(opened, source, engine=engine, compute=compute, on_batch=on_batch)


def _architecture_file(architecture: Architecture | str | os.PathLike[str]) -> ArchitectureFile:
    if isinstance(architecture, Architecture):
        return ArchitectureFile(architecture)
    return find_architecture_file(_name_or_path(architecture))


def _name_or_path(given: str | os.PathLike[str]) -> str | Path:
    return given if isinstance(given, str) else Path(given)
