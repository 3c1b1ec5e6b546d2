"""A run: what a search has found so far, read from its directory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnas.checkpoints.provenance import Provenance, ProvenanceInput
from mnas.data import ImageForm, InputForm
from mnas.documents.foreign_text import one_line
from mnas.documents.html_table import html_table
from mnas.documents.user_paths import path_text
from mnas.experiment import Experiment
from mnas.files import RunDirectoryError
from mnas.search import ranking
from mnas.search.results import kinds_of
from mnas.search.run_directory import (
    BEST_FILE,
    read_store,
    stored_experiment,
    stored_images,
    stored_overhead_s,
    stored_reward_images,
    stored_space_name,
)
from mnas.search.store import Trial, TrialState
from mnas.search.target import target_note
from mnas.search.weights import kept_weights
from search_space import Architecture, ArchitectureFile, architecture_from_dict, format_block

if TYPE_CHECKING:
    from mnas.export.folder import Exported
    from mnas.retrain.recipe import Recipe
    from mnas.retrain.top_table import TopTable
    from mnas.retrain.top_training import NetworkTrainer, TopObserver
    from mnas.search.contest import Finalist

_TRIALS_SHOWN = 5


@dataclass(frozen=True)
class Run:
    """A search in its run directory, finished or not, also while it is searched.

    Trials are read from the directory each time they are asked for, so a run that is searched shows what is new. No
    file stays open, and nothing that is stored changes.

    Attributes:
        directory: The run directory.
        experiment: What the run was started with, or last resumed with.
        images: How the images of the run are prepared for evaluation.
        reward_images: Number of held-out training images that accuracies are of; None if it is not known.
    """

    directory: Path
    experiment: Experiment
    images: InputForm
    reward_images: int | None

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Run:
        """Return the run in a directory.

        Raises:
            RunDirectoryError: There is no such directory, or the run has not begun.
            StoreError: The directory holds no run.
        """
        path = Path(directory)
        with read_store(path) as store:
            meta = store.meta()
        if "experiment" not in meta:
            raise RunDirectoryError(f"{path}: the run has not begun yet; start it with `mnas search`")
        experiment = stored_experiment(path, meta["experiment"])
        images = stored_images(path, meta, experiment)
        return cls(path, experiment, images, stored_reward_images(path, meta, experiment))

    @property
    def image_form(self) -> ImageForm:
        """The form of the images; its `lower` gives the network of an architecture."""
        return ImageForm.of(self.images)

    @property
    def best_file(self) -> Path:
        """The architecture file of the best trial; written when a search ends."""
        return self.directory / BEST_FILE

    @property
    def overhead_s(self) -> float | None:
        """Seconds of the last session before its first proposal and after its last trial; None if they are not known.

        It has loaded the images, started Ray, and ended it.
        """
        with read_store(self.directory) as store:
            return stored_overhead_s(self.directory, store.meta())

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, by number."""
        with read_store(self.directory) as store:
            return tuple(store.trials())

    def iterate(self) -> Iterator[Trial]:
        """Yield every trial, by number, without holding more than one."""
        with read_store(self.directory) as store:
            yield from store.iterate()

    def trial(self, number: int) -> Trial:
        """Return one trial.

        Raises:
            StoreError: There is no trial of that number.
        """
        with read_store(self.directory) as store:
            return store.trial(number)

    def counts(self) -> dict[TrialState, int]:
        """Return the number of trials in each state: `proposed`, `complete`, `failed`."""
        with read_store(self.directory) as store:
            return store.counts()

    def best_trials(self, count: int, *, target_ms: float | None = None, below_ms: float | None = None) -> list[Trial]:
        """Return up to `count` complete trials of highest reward, the best first; repeats are left out.

        If the search has trained finalists again, these come first, in the order of `finalists`. Nothing is trained or
        measured here: another question is answered from what is stored, by the rewards of the search alone.

        Args:
            count: How many.
            target_ms: Another target latency: rewards are those that it gives. None takes the experiment's.
            below_ms: Only networks whose latency is at most this. None takes all.

        Raises:
            ConfigurationError: A latency is not a finite number above 0.
        """
        if target_ms is None and below_ms is None:
            finalists = [finalist.trial for finalist in self.finalists()]
            with read_store(self.directory) as store:
                by_reward = store.best(count)
            return [*finalists, *(trial for trial in by_reward if trial not in finalists)][:count]
        trials = list(self.trials)
        if target_ms is not None:
            trials = ranking.with_target(trials, self.experiment, target_ms)
        if below_ms is not None:
            trials = ranking.below(trials, below_ms)
        return ranking.ranked(trials)[:count]

    def best(self, *, target_ms: float | None = None, below_ms: float | None = None) -> Trial:
        """Return the winner of the finalists, else the complete trial of highest reward, the earlier one of equals.

        See `best_trials`.

        `notes` tells how sure it is.

        Raises:
            RunDirectoryError: No trial is complete, or none is as fast as `below_ms`.
            ConfigurationError: A latency is not a finite number above 0.
        """
        if best := self.best_trials(1, target_ms=target_ms, below_ms=below_ms):
            return best[0]
        latencies_ms = {trial.id: trial.latency_ms for trial in self.trials if trial.latency_ms is not None}
        counts = self.counts()
        if below_ms is not None and counts["complete"] and latencies_ms:
            fastest = min(latencies_ms, key=lambda number: latencies_ms[number])
            raise RunDirectoryError(
                f"{self.directory}: no network takes at most {below_ms:g} ms; the fastest, trial {fastest}, takes "
                f"{latencies_ms[fastest]:.4f} ms"
            )
        if counts["proposed"] or not counts["failed"]:
            raise RunDirectoryError(f"{self.directory}: no trial is complete yet; `mnas show` says how they stand")
        raise RunDirectoryError(
            f"{self.directory}: none of {counts['failed']} trials succeeded ({one_line(kinds_of(self.trials))}); "
            f"`mnas show {self.directory}` lists them"
        )

    def finalists(self) -> list[Finalist]:
        """Return the networks that were trained again after the search, the likely best first.

        Each has a mean of fresh rewards, an interval, and a probability of being the best of them. Those
        whose training failed through their own fault are left out.

        Returns:
            None of them if the experiment has no `search.finalists`, or not all have a fresh reward yet.
        """
        settings = self.experiment.search.finalists
        if settings is None:
            return []
        # Here, because it loads NumPy.
        from mnas.search.contest import Contest

        with read_store(self.directory) as store:
            return Contest(store.best(settings.count), store.finalist_trainings(), settings).standings()

    def second_trainings(self) -> dict[int, dict[str, Any]]:
        """Return the second trainings of networks (`search.repeats`), by trial.

        Each is the record of a training, with its `accuracy`, or has a `failure`.
        """
        with read_store(self.directory) as store:
            return store.second_trainings()

    def weights(self, trial: Trial) -> Path | None:
        """Return the checkpoint with the trained weights of a trial, if the search has kept them.

        See `search.keep_weights`. A trial that took over the outcome of an earlier one has the weights of that one.
        """
        owner = trial.id if trial.repeat_of is None or trial.training is not None else trial.repeat_of
        return kept_weights(self.directory).get(owner) if trial.state == "complete" else None

    @property
    def noise(self) -> ranking.Noise:
        """What is known of the noise of the accuracies."""
        return ranking.noise_of(self.trials, self.reward_images, self.second_trainings())

    def notes(self, *, target_ms: float | None = None, below_ms: float | None = None) -> list[str]:
        """Return what must be said with `best`: ties, accuracies at chance, a target that no network meets.

        If every trial has failed, that and the reasons are said.
        """
        trials = self.trials
        if trials and all(trial.state == "failed" for trial in trials):
            return [f"None of {len(trials)} trials succeeded: {one_line(kinds_of(trials))}"]
        leaders = self.best_trials(max(len(trials), 1), target_ms=target_ms, below_ms=below_ms)
        noise = ranking.noise_of(trials, self.reward_images, self.second_trainings())
        finalists = self.finalists() if target_ms is None and below_ms is None else []
        confirmed = bool(finalists)
        said = ranking.warnings(leaders, noise, self.images.num_classes, confirmed=confirmed)
        experiment = self.experiment if target_ms is None else self.experiment.changed({"latency.target_ms": target_ms})
        note = None if below_ms is not None else target_note(trials, experiment)
        return said + self._doubt(finalists) + ([] if note is None else [note])

    def _doubt(self, finalists: Sequence[Finalist]) -> list[str]:
        """Return that the winner among the finalists is less sure than was asked for, if so."""
        settings = self.experiment.search.finalists
        if settings is None or not finalists:
            return []
        probability = finalists[0].standing.probability_best
        if probability >= settings.confidence:
            return []
        return [
            f"Trial {finalists[0].trial.id} is the best of {len(finalists)} finalists with a probability of "
            f"{probability:.3f}, and search.finalists.confidence is {settings.confidence:g}; "
            "more search.finalists.extra_trainings make it surer."
        ]

    def columns(self) -> dict[str, list[Any]]:
        """Return the trials as columns of equal length, for a table such as `pandas.DataFrame(run.columns())`.

        A value that is not known is None. `repeat_of` is the earlier trial of the same network, if there is one;
        `failure` the kind of a failure; `duration_s` the seconds from proposal to outcome; `decisions` the controller's
        integers; `blocks` the block strings. Each further phone of the experiment has a column `latency_ms NAME`.
        """
        trials = self.trials
        others = {f"latency_ms {name}": name for name in self.experiment.latency.others}
        return {
            **outcome_columns(trials, others),
            "duration_s": [_duration_s(trial) for trial in trials],
            "decisions": [list(trial.decisions) for trial in trials],
            "blocks": [_blocks(self.architecture(trial)) for trial in trials],
        }

    def architecture(self, trial: Trial) -> Architecture:
        """Return the architecture of a trial."""
        return architecture_from_dict(trial.architecture, source=f"{self.directory}: trial {trial.id}")

    def architecture_file(self, trial: Trial) -> ArchitectureFile:
        """Return the architecture of a trial with its name, space, decisions and lineage."""
        with read_store(self.directory) as store:
            space_name = stored_space_name(self.directory, store.meta(), self.experiment)
        return ArchitectureFile(
            self.architecture(trial),
            name=f"trial {trial.id} of {path_text(self.directory.resolve().name)}",
            space=space_name,
            indices=trial.decisions,
            lineage=Provenance(
                run=path_text(self.directory),
                trial=trial.id,
                input=ProvenanceInput.of(self.images),
                accuracy=trial.accuracy,
                latency_ms=trial.latency_ms,
                other_latencies_ms=dict(trial.other_latencies_ms) or None,
                reward=trial.reward,
            ).lineage(),
        )

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        trial: Trial | int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        force: bool = False,
    ) -> Exported:
        """Write a folder with the network of a trial: ONNX, MindIR, checkpoints, a model card and a diagram.

        Args:
            folder: The folder to write; must not exist unless `force` is set.
            trial: A complete trial or its number. None takes the best.
            checkpoint: The weights: a checkpoint of a full training, or a .ckpt of MindSpore. Without it they are
                those that the search has kept, else initial ones; the model card says which.
            force: Replace the folder if an export has written it.

        Raises:
            ConfigurationError: The folder must not be written, or the checkpoint is of another network.
            CheckpointError: The checkpoint cannot be read.
            ExportError: The folder cannot be written, or the graphs in it do not agree.
            RunDirectoryError: There is no such complete trial.
        """
        # Here, because it loads MindSpore; and `mnas export` needs this module to read a run.
        from mnas.export.folder import check_target, export
        from mnas.export.source import source_of_trial
        from mnas.export.subject import Adaptation, subject_of
        from mnas.mindspore_setup import prepare_mindspore

        target = Path(folder)
        check_target(target, force=force)
        chosen = self.best() if trial is None else self.trial(trial) if isinstance(trial, int) else trial
        path = None if checkpoint is None else Path(checkpoint)
        subject = subject_of(source_of_trial(self, chosen), Adaptation(), path)
        prepare_mindspore()
        return export(subject, target, force=force)

    def retrain_top(
        self,
        count: int,
        recipe: Recipe | str | os.PathLike[str],
        *,
        directory: str | os.PathLike[str],
        data: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        ray_address: str | None = None,
        trainer: NetworkTrainer | None = None,
        observer: TopObserver | None = None,
    ) -> TopTable:
        """Train the best networks fully, several at a time, or go on with the trainings in the directory.

        Each network has a run directory of its own in it, and `top.json` has the table of all. Whatever stops it, the
        same call goes on from the last checkpoints. Networks that have failed are tried again, except those whose loss
        became infinite.

        Args:
            count: How many; they are those of `best_trials`.
            recipe: How to train: a recipe, the name of a bundled one, or the path of a YAML file (MindCV's, too). Its
                images must have the size, channels and classes of the run's.
            directory: The directory of all trainings; made if it is new.
            data: The folder of the images. None takes what the recipe says.
            workers: Networks trained at a time. None takes as many as Ray has cores (CPU) or NPUs (Ascend) for.
            ray_address: A Ray cluster to join, HOST:PORT of its head or `auto`; all its nodes must share `directory`.
                None starts Ray on this machine.
            trainer: Trains the networks, in place of the Ray workers.
            observer: Is told what happens. An exception that it raises ends the trainings.

        Returns:
            The networks with their accuracies, or why they have failed; the winner under the target latency, and the
            rank correlation of the accuracies of the search with those of full training.

        Raises:
            ConfigurationError: The run has fewer complete networks, the recipe does not fit the run, or the directory
                holds something else.
            DocumentError: The recipe cannot be read or does not fit its schema.
            DataError: The images cannot be loaded or read.
            RunDirectoryError: Another process works on the directory.
            ClusterError: Ray cannot be started on this machine, or was lost.
        """
        # Here, because `mnas.retrain` needs this module to read a run.
        from mnas.retrain.recipe import open_recipe
        from mnas.retrain.top_training import train_top

        return train_top(
            self,
            count,
            open_recipe(recipe, data),
            Path(directory),
            workers=workers,
            ray_address=ray_address,
            trainer=trainer,
            observer=observer,
        )

    def report(self, path: str | os.PathLike[str], *, references: Iterable[str | os.PathLike[str]] = ()) -> Path:
        """Write what the search has found as one HTML file with charts and tables, and return its path.

        The file needs no network. One that is there is replaced.

        Args:
            path: The file.
            references: Files of what `mnas scale --json` has printed: networks to show next to those of the search.

        Raises:
            ConfigurationError: The file cannot be written, or a file of references does not fit the run.
            DocumentError: A file of references cannot be read.
            StoreError: The run cannot be read.
        """
        # Here, because `mnas.report` needs this module to read a run.
        from mnas.report.file import write_report

        return write_report([self], Path(path), map(Path, references))

    def _repr_html_(self) -> str:
        """Return the counts and the best trials as a small table, for notebooks."""
        counts = self.counts()
        caption = (
            f"Run {self.directory}: {counts['complete']} complete, {counts['failed']} failed and {counts['proposed']} "
            f"pending of {self.experiment.search.trials} trials"
        )
        rows = [
            (
                trial.id,
                *map(_number, (trial.accuracy, trial.latency_ms, trial.reward)),
                _blocks(self.architecture(trial)),
            )
            for trial in self.best_trials(_TRIALS_SHOWN)
        ]
        return html_table(("trial", "accuracy", "latency (ms)", "reward", "blocks"), rows, caption=caption)


def outcome_columns(trials: Sequence[Trial], others: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return how trials ended, as columns of equal length.

    Args:
        trials: The trials.
        others: Further phones: the name of the column of each, and the name of the phone.
    """
    return {
        "id": [trial.id for trial in trials],
        "state": [trial.state for trial in trials],
        "repeat_of": [trial.repeat_of for trial in trials],
        "accuracy": [trial.accuracy for trial in trials],
        "latency_ms": [trial.latency_ms for trial in trials],
        **{key: [trial.other_latencies_ms.get(name) for trial in trials] for key, name in others.items()},
        "reward": [trial.reward for trial in trials],
        "failure": [trial.failure and trial.failure.kind.value for trial in trials],
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _blocks(architecture: Architecture) -> str:
    return " ".join(format_block(block) for block in architecture.blocks)


def _duration_s(trial: Trial) -> float | None:
    if trial.finished_at is None:
        return None
    started, finished = (datetime.fromisoformat(time) for time in (trial.proposed_at, trial.finished_at))
    return (finished - started).total_seconds()
