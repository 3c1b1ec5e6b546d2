"""Full training of a run's best networks, several at a time: `mnas retrain RUN --top K`.

Each network has a run directory of its own, in which it goes on from its last checkpoint, and the table of all is
written whenever one ends. So a process that is killed at any moment loses the steps since the last checkpoints, and the
same call goes on to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from mnas.data import FullData, ImageForm, InputForm
from mnas.errors import ConfigurationError, DataError, FailureKind
from mnas.retrain.logs import finished_epochs
from mnas.retrain.recipe import Recipe
from mnas.retrain.retrain import RetrainResult, batch_plan, input_form
from mnas.retrain.top_table import (
    FullTraining,
    TopNetwork,
    TopTable,
    new_table,
    open_table,
    stored_table,
    write_table,
)
from mnas.search.launch import with_restarts
from mnas.search.results import failure_of
from mnas.search.run import Run
from mnas.training.batch_plan import check_fills_batch
from search_space import ArchitectureFile

POLL_S = 1.0


class NetworkTrainer(Protocol):
    """Trains networks fully."""

    def submit(self, network: ArchitectureFile, directory: Path) -> Future[RetrainResult]:
        """Queue the training of a network, or of what is left of it, in its run directory.

        The future may raise TrialError, whose kind says whether the next call on the same table tries again.
        """
        ...


class TopObserver(Protocol):
    """Callbacks of the training of a run's best networks."""

    def started(self, table: TopTable) -> None:
        """Observe the table before training, again if Ray had to be started again."""
        ...

    def progress(self, epochs: int) -> None:
        """Observe how many epochs of all networks are done; called about once a second."""
        ...

    def network_ended(self, network: TopNetwork) -> None:
        """Observe a network whose training has ended or failed."""
        ...


class SilentTopObserver:
    """Shows nothing."""

    def started(self, table: TopTable) -> None:
        """See `TopObserver`."""

    def progress(self, epochs: int) -> None:
        """See `TopObserver`."""

    def network_ended(self, network: TopNetwork) -> None:
        """See `TopObserver`."""


def train_top(
    run: Run,
    count: int,
    recipe: Recipe,
    directory: Path,
    *,
    workers: int | None = None,
    ray_address: str | None = None,
    trainer: NetworkTrainer | None = None,
    observer: TopObserver | None = None,
) -> TopTable:
    """Train the best networks of a run, or go on with the trainings in the directory; see `Run.retrain_top`."""
    recipe.check_keys("recipe")
    data = recipe.load_data()
    _check_images(run, recipe, data)
    table = new_table(run, count, recipe, data.fingerprint())
    del data  # each worker loads its own
    directory, watcher = directory.resolve(), observer or SilentTopObserver()
    with open_table(directory, table, run) as opened:

        def train() -> None:
            if trainer is not None:
                _train_pending(directory, trainer, watcher, check=lambda: None)
                return
            # Here, because it loads Ray.
            from mnas.retrain.top_workers import ray_trainer

            with ray_trainer(recipe, workers, ray_address) as (ray_workers, check):
                _train_pending(directory, ray_workers, watcher, check)

        if opened.pending:
            with_restarts(train, lambda: -len(stored_table(directory).pending))
        return stored_table(directory)


def _train_pending(directory: Path, trainer: NetworkTrainer, observer: TopObserver, check: Callable[[], None]) -> None:
    """Train the networks of a table that are pending, and write the table whenever one has ended.

    Args:
        directory: The directory of the table.
        trainer: Trains the networks.
        observer: Is told what happens.
        check: Raises ClusterLostError if the Ray of the trainer is gone.

    Raises:
        DataError: An image cannot be read.
    """
    table = stored_table(directory)
    folders = [directory / network.folder for network in table.networks]
    observer.started(table)
    jobs = {
        trainer.submit(network.architecture.file(), directory / network.folder): network for network in table.pending
    }
    while jobs:
        done, _ = wait(jobs, POLL_S, FIRST_COMPLETED)
        check()
        for future in done:
            ended = _ended(jobs.pop(future), future, directory)
            table = table.with_network(ended)
            write_table(directory, table)
            observer.network_ended(ended)
        observer.progress(sum(map(finished_epochs, folders)))


def _ended(network: TopNetwork, future: Future[RetrainResult], directory: Path) -> TopNetwork:
    """Return a network with what its training gave, or why it has failed."""
    try:
        result = future.result()
    except Exception as error:  # whatever it is, the other networks go on
        failure = failure_of(error)
        if failure.kind is FailureKind.DATA:
            raise DataError(f"{failure.message}. Every training would fail; the same command goes on") from error
        return replace(network, failure=failure)
    full = FullTraining(
        accuracy=result.accuracy,
        validation=result.validation,
        checkpoint=result.tested.relative_to(directory).as_posix(),
    )
    return replace(network, full=full)


def _check_images(run: Run, recipe: Recipe, data: FullData) -> None:
    """Check that the images of a recipe are of the kind that a run's networks were searched and timed on.

    Raises:
        ConfigurationError: They have another size, other channels or other classes, or a batch cannot be divided.
        DataError: They are not what the recipe says, or fill no batch.
    """
    given, searched = input_form(recipe, data), run.images
    if ImageForm.of(given) != ImageForm.of(searched):
        raise ConfigurationError(
            f"{run.directory}: its networks were searched and timed on images of {_form_text(searched)}, and the "
            f"recipe's images have {_form_text(given)}; change `data` of the recipe, or train a network by itself, "
            "without --top"
        )
    names = given.class_names, searched.class_names
    if None not in names and given.class_names != searched.class_names:
        raise ConfigurationError(
            f"{run.directory}: the recipe's images have other classes ({_names_text(given)}) than those of the search "
            f"({_names_text(searched)}); change `data` of the recipe"
        )
    batch_plan(recipe)
    check_fills_batch(len(data.train), recipe.training.batch_size)


def _form_text(form: InputForm) -> str:
    return f"{form.image_size}x{form.image_size} pixels, {form.channels} channels and {form.num_classes} classes"


def _names_text(form: InputForm) -> str:
    names = form.class_names or ()
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
