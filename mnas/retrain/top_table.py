"""The full trainings of a run's best networks as one table: which they are, and what each of them gave."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

import mnas
from mnas.checkpoints.checkpoint import Accuracy
from mnas.documents.changes import changed_keys
from mnas.documents.check import convert
from mnas.documents.user_paths import path_text
from mnas.errors import ConfigurationError, Failure, FailureKind
from mnas.files import LOCK_FILE, RunDirectoryError, locked_directory, write_atomically
from mnas.ranks import kendall_tau
from mnas.retrain.recipe import RESUMABLE_RECIPE_KEYS, Recipe
from mnas.search.ranking import Noise
from mnas.search.run import Run
from mnas.search.store import Trial
from search_space import ArchitectureFileFields, architecture_file_to_dict

TABLE_FILE = "top.json"
_LOG = logging.getLogger(__name__)


class FullTraining(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a finished full training gave.

    Attributes:
        accuracy: On the test set.
        validation: On the held-out images; None if the recipe has no `validation`.
        checkpoint: The file that both are of, in the directory of the table.
    """

    accuracy: Accuracy
    validation: Accuracy | None = None
    checkpoint: str

    @property
    def deciding(self) -> Accuracy:
        """The accuracy that chooses the winner: on the held-out images if there are any."""
        return self.accuracy if self.validation is None else self.validation


class TopNetwork(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the best networks of a run, and its full training.

    Attributes:
        trial: The trial of the run.
        architecture: The network with its origin.
        proxy_accuracy: Its accuracy in the search, of a short training on the reward set.
        latency_ms: Its latency in the search, in milliseconds.
        reward: Its reward in the search.
        meets_target: Whether its latency is within the target, on every phone that decides the reward.
        full: What the full training gave; None until it has ended, or if it has failed.
        failure: Why it has failed.
    """

    trial: int
    architecture: ArchitectureFileFields
    proxy_accuracy: float
    latency_ms: float
    reward: float
    meets_target: bool
    full: FullTraining | None = None
    failure: Failure | None = None

    @property
    def folder(self) -> str:
        """The name of its run directory in that of the table."""
        return f"trial-{self.trial}"


class TopTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The best networks of a run and their full trainings; the content of `top.json`.

    Attributes:
        run: The run directory of the search.
        target_ms: Target latency of the search, in milliseconds.
        recipe: How the networks are trained.
        data_fingerprint: Hash of the images.
        mnas_version: The mnas that has written the table.
        networks: The networks, in the order of the run: the best first.
    """

    run: str
    target_ms: float
    recipe: Recipe
    data_fingerprint: str
    mnas_version: str
    networks: tuple[TopNetwork, ...]

    @property
    def failed(self) -> list[TopNetwork]:
        """The networks whose training has failed."""
        return [network for network in self.networks if network.failure is not None]

    @property
    def pending(self) -> list[TopNetwork]:
        """The networks whose training has not ended."""
        return [network for network in self.networks if network.full is None and network.failure is None]

    @property
    def kendall_tau(self) -> float | None:
        """Kendall's rank correlation of the accuracies in the search and on the test set; None if it has no value."""
        pairs = [(one.proxy_accuracy, one.full.accuracy.top1) for one in self.networks if one.full is not None]
        return kendall_tau([proxy for proxy, _ in pairs], [full for _, full in pairs])

    @property
    def winner(self) -> TopNetwork | None:
        """The network of highest full accuracy that meets the target; None if none does."""
        return next(iter(self._contenders()), None)

    def _contenders(self) -> list[TopNetwork]:
        contenders = [(one, one.full.deciding) for one in self.networks if one.full is not None and one.meets_target]
        return [one for one, _ in sorted(contenders, key=lambda pair: (-pair[1].top1, pair[0].latency_ms))]

    def notes(self) -> list[str]:
        """Return what must be said with the winner: that none meets the target, what chose it, how sure that is."""
        contenders = self._contenders()
        trained = [network for network in self.networks if network.full is not None]
        if not contenders:
            if not trained:
                return []
            fastest = min(trained, key=lambda network: network.latency_ms)
            return [
                f"None of the trained networks meets the target of {self.target_ms:g} ms; the fastest, trial "
                f"{fastest.trial}, takes {fastest.latency_ms:.4f} ms."
            ]
        said = []
        if len(contenders) > 1 and self.recipe.validation is None:
            said.append(
                "The test set has chosen the winner, so its accuracy is too good; `validation` in the recipe chooses "
                "by held-out training images."
            )
        if close := sum(_within_error(contenders[0], other) for other in contenders[1:]):
            others = "1 other within the target differs" if close == 1 else f"{close} others within the target differ"
            said.append(
                f"Trial {contenders[0].trial} is not surely the best: {others} from it by less than the standard error."
            )
        return said

    def with_network(self, network: TopNetwork) -> TopTable:
        """Return the table with this network in the place of that of the same trial."""
        return replace(self, networks=tuple(network if one.trial == network.trial else one for one in self.networks))


def _within_error(winner: TopNetwork, other: TopNetwork) -> bool:
    """Return whether two accuracies differ by no more than the error that their numbers of images leave."""
    assert winner.full is not None, "contenders are trained"
    assert other.full is not None, "contenders are trained"
    best, found = winner.full.deciding, other.full.deciding
    errors = [Noise(each.images).error(each.top1) or 0.0 for each in (best, found)]
    return best.top1 - found.top1 <= math.hypot(*errors)


def new_table(run: Run, count: int, recipe: Recipe, data_fingerprint: str) -> TopTable:
    """Return the table of a run's best networks, of which none is trained yet.

    Raises:
        ConfigurationError: `count` is below 1, or the run has fewer complete networks.
    """
    if count < 1:
        raise ConfigurationError(f"the number of networks to train is {count}; it must be at least 1")
    trials = run.best_trials(count)
    if len(trials) < count:
        raise ConfigurationError(
            f"{run.directory}: has {len(trials)} complete networks (repeats of one count once), so its {count} best "
            "cannot be trained; ask for fewer, or search on"
        )
    return TopTable(
        run=path_text(run.directory.resolve()),
        target_ms=run.experiment.latency.target_ms,
        recipe=recipe,
        data_fingerprint=data_fingerprint,
        mnas_version=mnas.__version__,
        networks=tuple(_network(run, trial) for trial in trials),
    )


def _network(run: Run, trial: Trial) -> TopNetwork:
    if trial.accuracy is None or trial.latency_ms is None or trial.reward is None:
        raise AssertionError(f"trial {trial.id} is complete without a number")
    latency = run.experiment.latency
    others_ms = trial.other_latencies_ms
    return TopNetwork(
        trial=trial.id,
        architecture=convert(
            architecture_file_to_dict(run.architecture_file(trial)), ArchitectureFileFields, source="architecture"
        ),
        proxy_accuracy=trial.accuracy,
        latency_ms=trial.latency_ms,
        reward=trial.reward,
        meets_target=trial.latency_ms <= latency.target_ms
        and all(others_ms.get(name, 0.0) <= target_ms for name, target_ms in latency.rewarded_others().items()),
    )


@contextmanager
def open_table(directory: Path, table: TopTable, run: Run) -> Iterator[TopTable]:
    """Lock a directory for training the networks of a table: a new one, or one that was started with the same.

    A table that is there keeps its networks, also if the search has found better ones since. Trainings that have failed
    are pending again, except those that have diverged: they would diverge again.

    Args:
        directory: The directory of the table; made if it is new.
        table: What it is started or resumed with.
        run: The run of the networks.

    Yields:
        The table to go on with.

    Raises:
        ConfigurationError: The directory holds something else.
        RunDirectoryError: Another process works on it, or it cannot be made or read.
    """
    with locked_directory(directory, "mnas retrain"):
        if (before := read_table(directory)) is not None:
            _check_same(directory, before, table, run)
            if better := sorted({one.trial for one in table.networks} - {one.trial for one in before.networks}):
                _LOG.warning(
                    "mnas: %s: goes on with the networks that were the best when it was started; now trial %s would be "
                    "among them",
                    directory,
                    ", ".join(map(str, better)),
                )
            table = replace(table, networks=tuple(map(_tried_again, before.networks)))
        elif any(entry.name != LOCK_FILE for entry in directory.iterdir()):
            raise ConfigurationError(
                f"{directory}: not empty and no training of a run's best networks; choose a new directory with "
                "--run-dir"
            )
        write_table(directory, table)
        yield table


def _tried_again(network: TopNetwork) -> TopNetwork:
    failure = network.failure
    return (
        network if failure is None or failure.kind is FailureKind.TRAINING_DIVERGED else replace(network, failure=None)
    )


def _check_same(directory: Path, before: TopTable, now: TopTable, run: Run) -> None:
    remedy = "undo the change, or choose another directory with --run-dir"
    changed = changed_keys(before.recipe, now.recipe, RESUMABLE_RECIPE_KEYS)
    if len(before.networks) != len(now.networks):
        changed.append(f"number of networks: {len(before.networks)} -> {len(now.networks)}")
    if changed:
        raise ConfigurationError(
            f"{directory}: these trainings were started differently ({'; '.join(changed)}); {remedy}"
        )
    if before.data_fingerprint != now.data_fingerprint:
        raise ConfigurationError(f"{directory}: the data has changed since these trainings were started; {remedy}")
    trials = {trial.id: trial for trial in run.iterate()}
    for network in before.networks:
        trial = trials.get(network.trial)
        if trial is None or run.architecture(trial) != network.architecture.architecture():
            raise ConfigurationError(f"{directory}: holds trainings of another run ({before.run}); {remedy}")


def stored_table(directory: Path) -> TopTable:
    """Return the table in a directory that has one; see `read_table`."""
    table = read_table(directory)
    assert table is not None, "an open directory has a table"
    return table


def read_table(directory: Path) -> TopTable | None:
    """Return the table in a directory, None if there is none.

    Raises:
        RunDirectoryError: The file cannot be read.
    """
    file = directory / TABLE_FILE
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=TopTable)
    except msgspec.DecodeError as error:
        raise RunDirectoryError(f"{file}: cannot be read ({error}); choose a new directory with --run-dir") from error


def write_table(directory: Path, table: TopTable) -> None:
    """Replace the table in a directory."""
    write_atomically(directory / TABLE_FILE, msgspec.json.format(msgspec.json.encode(table)))
