"""Full training, from an architecture and a recipe to a validated checkpoint."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, CheckpointError, Position, ValidatedOn, read_checkpoint
from mnas.data import FullData, ImageForm, InputForm
from mnas.errors import DataError
from mnas.evaluation.accuracy import Evaluator
from mnas.retrain.directory import LAST_FILE, FinalAccuracy, InitRecord, RetrainDirectory, open_directory
from mnas.retrain.logs import open_logs
from mnas.retrain.loop import Loop, RetrainObserver
from mnas.retrain.processes import Process
from mnas.retrain.recipe import Recipe
from mnas.retrain.starting_point import StartingPoint, fitted_weights
from mnas.retrain.validation import Validator, accuracy_of, add_up_over, share_of
from mnas.retrain.writer import Writer, trainer_state
from mnas.training.batch_plan import BatchPlan
from mnas.training.trainer import Trainer
from search_space import ArchitectureFile, LoweredNetwork

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetrainResult:
    """A finished retraining.

    Attributes:
        accuracy: On the test set, of the weights in `tested`.
        last: The checkpoint of the last step.
        best: The checkpoints with the best top-1, best first. Without held-out images the test set has chosen them, so
            their accuracy is too good; report that of the last.
        tested: The checkpoint that `accuracy` is of: the last, or with held-out images (`validation` of the recipe) the
            best on these.
        validation: On the held-out images, of the weights in `tested`; None without such images.
        init: The trained weights that it started from; None if they were drawn.
    """

    accuracy: Accuracy
    last: Path
    best: tuple[Path, ...]
    tested: Path
    validation: Accuracy | None = None
    init: InitRecord | None = None


def retrain(
    architecture: ArchitectureFile,
    recipe: Recipe,
    directory: Path,
    observer: RetrainObserver,
    process: Process = Process(),
    start: StartingPoint | None = None,
) -> RetrainResult | None:
    """Train an architecture by a recipe, or resume its training at the last checkpoint.

    Args:
        architecture: What is trained.
        recipe: How it is trained.
        directory: The run directory: new, or that of this training.
        observer: Called as the training goes on.
        process: The place of this process among those of the training (see `join_processes`).
        start: Trained weights to start from; None draws them from the seed of the recipe.

    Returns:
        The result, or None in all processes but the first.

    Raises:
        RunDirectoryError: The directory is that of another training.
        CheckpointError: Its checkpoint is damaged, or the weights to start from do not fit.
        ConfigurationError: The batch cannot be divided among the processes, or the recipe has a key that full training
            does not obey.
        DataError: The data is not that of the recipe, or an image cannot be read.
        TrainingError: The training fails (see `Trainer`).
    """
    recipe.check_keys("recipe")
    settings = recipe.training
    plan = batch_plan(recipe, process)
    data = recipe.load_data()
    validated_on: ValidatedOn = "test" if data.validation is None else "validation"
    form = input_form(recipe, data)
    network = ImageForm.of(form).lower(architecture.architecture)
    fitted = None if start is None else fitted_weights(start, architecture, form, recipe.seed)
    with ExitStack() as stack:
        run = RetrainDirectory(directory)
        init = None if fitted is None else fitted.record
        if process.is_first:
            init = stack.enter_context(open_directory(directory, recipe, architecture, data.fingerprint(), init))
            if fitted is not None:
                if fitted.record.drawn:
                    _LOG.warning("mnas: the classifier is drawn again: %s", fitted.record.drawn)
                run.keep_init(Checkpoint(architecture, form, fitted.weights))
            run.best_files()  # a damaged one is said before anything is trained
        last = run.last()
        if last is not None and last.position.epoch == settings.epochs:
            return _result(run, network, data, recipe, init) if process.is_first else None
        initial = None if fitted is None else fitted.weights
        trainer = Trainer(
            network,
            settings,
            data.train,
            seed=recipe.seed,
            plan=plan,
            compute=recipe.compute,
            start=initial if last is None else trainer_state(last),
            compiles=recipe.sink_steps is None,
        )
        position = Position() if last is None else last.position
        share = share_of(data.test if data.validation is None else data.validation, process)
        evaluator = None if share is None else Evaluator(network, share, compute=recipe.compute)
        validator = Validator(evaluator, process, add_up_over(process), validated_on)
        writer = None
        if process.is_first:
            logs = stack.enter_context(open_logs(directory, position.step, validated_on))
            writer = Writer(run, logs, Checkpoint(architecture, form, weights={}))
        observer.started(position, settings.epochs, trainer.steps_per_epoch, trainer.phases)
        Loop(recipe, trainer, validator, writer, observer).run_from(last)
        return _result(run, network, data, recipe, init) if process.is_first else None


def _result(
    run: RetrainDirectory, network: LoweredNetwork, data: FullData, recipe: Recipe, init: InitRecord | None
) -> RetrainResult:
    last, best = run.path / LAST_FILE, tuple(run.best_files())
    if data.validation is None:
        return RetrainResult(_validated(read_checkpoint(last), last), last, best, tested=last, init=init)
    tested = run.tested()
    if tested is None:
        chosen = best[0] if best else last
        checkpoint = read_checkpoint(chosen)
        validation = _validated(checkpoint, chosen)
        evaluation = Evaluator(network, data.test, compute=recipe.compute).evaluate(checkpoint.best_weights())
        accuracy = accuracy_of(evaluation, of_ema=checkpoint.ema is not None, on="test")
        name = chosen.relative_to(run.path).as_posix()
        tested = FinalAccuracy(checkpoint=name, accuracy=accuracy, validation=validation)
        run.write_tested(tested)
    return RetrainResult(tested.accuracy, last, best, run.path / tested.checkpoint, tested.validation, init)


def _validated(checkpoint: Checkpoint, path: Path) -> Accuracy:
    if checkpoint.accuracy is None:  # every training validates its last epoch
        raise CheckpointError(f"{path}: has no validation, so no finished training has written it; restore it")
    return checkpoint.accuracy


def batch_plan(recipe: Recipe, process: Process = Process()) -> BatchPlan:
    """Return how the processes of a training divide the batches of its recipe.

    Raises:
        ConfigurationError: They cannot be divided.
    """
    batch_size = recipe.training.batch_size
    micro_batch_size = recipe.micro_batch_size or max(2, batch_size // process.ranks)
    return BatchPlan(batch_size, micro_batch_size, process.rank, process.ranks)


def input_form(recipe: Recipe, data: FullData) -> InputForm:
    """Return how the images of a recipe are prepared for evaluation.

    Raises:
        DataError: They have another number of classes than the recipe says.
    """
    source = data.train
    if recipe.num_classes is not None and source.num_classes != recipe.num_classes:
        raise DataError(
            f"the data has {source.num_classes} classes, but the recipe has `num_classes: {recipe.num_classes}`; "
            "complete the data, or correct the recipe"
        )
    return recipe.data.input_form(source)
