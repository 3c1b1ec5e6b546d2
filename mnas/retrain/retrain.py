"""Full training, from an architecture and a recipe to a validated checkpoint."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, Position
from mnas.data import FullData, ImageForm, InputForm
from mnas.errors import DataError
from mnas.evaluation.accuracy import Evaluator
from mnas.retrain.directory import LAST_FILE, RetrainDirectory, open_directory
from mnas.retrain.logs import open_logs
from mnas.retrain.loop import Loop, RetrainObserver
from mnas.retrain.processes import Process
from mnas.retrain.recipe import Recipe
from mnas.retrain.validation import Validator, add_up_over, share_of
from mnas.retrain.writer import Writer, trainer_state
from mnas.training.batch_plan import BatchPlan
from mnas.training.trainer import Trainer
from search_space import ArchitectureFile


@dataclass(frozen=True)
class RetrainResult:
    """A finished retraining.

    Attributes:
        accuracy: The validation of the last weights.
        last: The checkpoint of the last step.
        best: The checkpoints with the best top-1, best first. An epoch that is chosen by the test set has an accuracy
            that is too good; report that of the last.
    """

    accuracy: Accuracy
    last: Path
    best: tuple[Path, ...]


def retrain(
    architecture: ArchitectureFile,
    recipe: Recipe,
    directory: Path,
    observer: RetrainObserver,
    process: Process = Process(),
) -> RetrainResult | None:
    """Train an architecture by a recipe, or resume its training at the last checkpoint.

    Args:
        architecture: What is trained.
        recipe: How it is trained.
        directory: The run directory: new, or that of this training.
        observer: Called as the training goes on.
        process: The place of this process among those of the training (see `join_processes`).

    Returns:
        The result, or None in all processes but the first.

    Raises:
        RunDirectoryError: The directory is that of another training.
        CheckpointError: Its checkpoint is damaged.
        ConfigurationError: The batch cannot be divided among the processes, or the recipe has a key that full training
            does not obey.
        DataError: The data is not that of the recipe, or an image cannot be read.
        TrainingError: The training fails (see `Trainer`).
    """
    recipe.check_keys("recipe")
    settings = recipe.training
    micro_batch_size = recipe.micro_batch_size or max(2, settings.batch_size // process.ranks)
    plan = BatchPlan(settings.batch_size, micro_batch_size, process.rank, process.ranks)
    data = recipe.data.load_full()
    form = _input_form(recipe, data)
    network = ImageForm.of(form).lower(architecture.architecture)
    with ExitStack() as stack:
        run = RetrainDirectory(directory)
        if process.is_first:
            stack.enter_context(open_directory(directory, recipe, architecture, data.fingerprint()))
        last = run.last()
        if last is not None and last.position.epoch == settings.epochs:
            return _result(run) if process.is_first else None
        trainer = Trainer(
            network,
            settings,
            data.train,
            seed=recipe.seed,
            plan=plan,
            compute=recipe.compute,
            start=None if last is None else trainer_state(last),
            compiles=recipe.sink_steps is None,
        )
        position = Position() if last is None else last.position
        share = share_of(data.test, process)
        evaluator = None if share is None else Evaluator(network, share, compute=recipe.compute)
        validator = Validator(evaluator, process, add_up_over(process))
        writer = None
        if process.is_first:
            logs = stack.enter_context(open_logs(directory, position.step))
            writer = Writer(run, logs, Checkpoint(architecture, form, weights={}))
        observer.started(position, settings.epochs, trainer.steps_per_epoch, trainer.phases)
        Loop(recipe, trainer, validator, writer, observer).run_from(last)
        return _result(run) if process.is_first else None


def _result(run: RetrainDirectory) -> RetrainResult:
    finished = run.last()
    assert finished is not None, "the loop has written it"
    assert finished.accuracy is not None, "the last epoch is always validated"
    return RetrainResult(accuracy=finished.accuracy, last=run.path / LAST_FILE, best=tuple(run.best_files()))


def _input_form(recipe: Recipe, data: FullData) -> InputForm:
    source = data.train
    if recipe.num_classes is not None and source.num_classes != recipe.num_classes:
        raise DataError(
            f"the data has {source.num_classes} classes, but the recipe has `num_classes: {recipe.num_classes}`; "
            "complete the data, or correct the recipe"
        )
    return recipe.data.input_form(source)
