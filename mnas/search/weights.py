"""The weights of trained children: files in the run directory, the best ones kept, bounded in bytes.

A file is written whole before the training of its trial is recorded, and deleted after its trial has ended. So a
process that is killed at any moment leaves no trial without the weights that it should have; what it leaves over is
deleted when the search goes on. The store says nothing of weights: a trial has those in its file.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnas.checkpoints.checkpoint import CHECKPOINT_SUFFIX, Checkpoint, CheckpointError, checkpoint_bytes
from mnas.checkpoints.load import load_checkpoint
from mnas.checkpoints.provenance import Provenance, ProvenanceInput
from mnas.documents.user_paths import path_text
from mnas.files import make_folder, write_atomically
from mnas.search.store import TRIED_AGAIN, TrialStore
from mnas.search.trial import Trial
from search_space import ArchitectureFile, architecture_from_dict

if TYPE_CHECKING:
    from mnas.search.run import Run
    from mnas.workers.child import TrainedWeights

_LOG = logging.getLogger(__name__)
WEIGHTS_FOLDER = "weights"
_FILE = re.compile(rf"trial-([1-9][0-9]{{0,6}}){re.escape(CHECKPOINT_SUFFIX)}")
_DRAFT = re.compile(rf"\.{_FILE.pattern}\.[0-9a-f]{{16}}\.partial")
# Their trainings are recorded, and they have not ended for good.
_OPEN = f"SELECT id FROM trials WHERE training IS NOT NULL AND (state = 'proposed' OR {TRIED_AGAIN})"
_COMPLETE = "SELECT id FROM trials WHERE state = 'complete' AND repeat_of IS NULL ORDER BY reward {}, id {}"


def weights_file(directory: Path, trial_id: int) -> Path:
    """Return where the weights of a trial are, if they are kept."""
    return directory / WEIGHTS_FOLDER / f"trial-{trial_id}{CHECKPOINT_SUFFIX}"


def kept_weights(directory: Path) -> dict[int, Path]:
    """Return the files of all weights that are kept in a run directory, by trial; links are passed over."""
    folder = directory / WEIGHTS_FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return {}
    named = {path: match for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))}
    found = {int(match[1]): path for path, match in named.items() if path.is_file() and not path.is_symlink()}
    return dict(sorted(found.items()))


def read_weights(run: Run, trial: Trial) -> Checkpoint:
    """Read the trained weights of a trial.

    Raises:
        CheckpointError: None are kept, or the file is damaged or of another training.
    """
    path = run.weights(trial)
    if path is None:
        kept = ", ".join(map(str, kept_weights(run.directory)))
        remedy = f"those of trial {kept} are (--trial)" if kept else "search with `search.keep_weights: 3` to keep some"
        raise CheckpointError(
            f"{run.directory}: the trained weights of trial {trial.id} are not kept (search.keep_weights: "
            f"{run.experiment.search.keep_weights}); {remedy}"
        )
    checkpoint = load_checkpoint(path, run.architecture_file(trial), None)
    accuracy = checkpoint.accuracy
    if checkpoint.input != run.images or (accuracy is not None and accuracy.top1 != trial.accuracy):
        raise CheckpointError(
            f"{path}: is of another training than that of trial {trial.id}; restore it from a copy, or remove it"
        )
    return checkpoint


class WeightsFolder:
    """The folder of weights of a run while it is searched; see `mnas.search.driver.WeightsKeeper`."""

    def __init__(self, run: Run, store: TrialStore) -> None:
        """Make the folder if it is new, and delete drafts that a killed process has left.

        Args:
            run: The run; its experiment says what is kept.
            store: Its store.
        """
        settings = run.experiment.search
        finalists = 0 if settings.finalists is None else settings.finalists.count
        keep = settings.keep_weights
        assert keep != "none", "nothing to keep"
        self._best = -1 if keep == "all" else max(keep, finalists)  # SQLite's limit of -1 is none
        self._max_bytes = settings.max_weights_bytes
        self._run, self._store = run, store
        self._is_full = False
        folder = run.directory / WEIGHTS_FOLDER
        make_folder(folder)
        for path in folder.iterdir():
            if _DRAFT.fullmatch(path.name):
                path.unlink()
        self._sizes = {trial_id: path.stat().st_size for trial_id, path in kept_weights(run.directory).items()}

    def keep(self, trial: Trial | None, result: Mapping[str, Any]) -> dict[str, Any]:
        """Write the weights in the result of a trainer, and return the result without them.

        Nothing is written for no trial, for a further training of a network, and for a child that was stopped early.

        Raises:
            OSError: The file cannot be written.
        """
        record = dict(result)
        trained: TrainedWeights | None = record.pop("weights", None)
        if trial is None or trial.repeat_of is not None or record.get("stopped"):
            return record
        path = weights_file(self._run.directory, trial.id)
        content = None if trained is None else checkpoint_bytes(path, self._checkpoint(trial, trained))
        if content is None or not self._make_room(len(content)):
            _LOG.warning(
                "mnas: search.keep_weights_gb: the trained weights of trial %d are not kept, they would exceed %g GB; "
                "raise it",
                trial.id,
                self._max_bytes / 1e9,
            )
            return record
        write_atomically(path, content)
        self._sizes[trial.id] = len(content)
        return record

    def tidy(self) -> None:
        """Delete the weights of networks that are not, or no longer, among the best."""
        wanted = set(self._ids(_OPEN)) | set(self._ids(f"{_COMPLETE.format('DESC', '')} LIMIT {self._best}"))
        for trial_id in self._sizes.keys() - wanted:
            self._delete(trial_id)

    def _make_room(self, size: int) -> bool:
        """Delete the weights of the lowest rewards until there is room; return whether there is, else delete none."""
        total = sum(self._sizes.values()) + size
        if total <= self._max_bytes:
            return True
        lowest_first = [trial_id for trial_id in self._ids(_COMPLETE.format("", "DESC")) if trial_id in self._sizes]
        if total - sum(self._sizes[trial_id] for trial_id in lowest_first) > self._max_bytes:
            return False
        if not self._is_full:
            self._is_full = True
            _LOG.warning(
                "mnas: search.keep_weights_gb: the trained weights have reached %g GB, so those of the lowest rewards "
                "are deleted; raise it to keep more",
                self._max_bytes / 1e9,
            )
        for trial_id in lowest_first:
            if total > self._max_bytes:
                total -= self._sizes[trial_id]
                self._delete(trial_id)
        return True

    def _ids(self, query: str) -> list[int]:
        return [trial_id for (trial_id,) in self._store.rows(query)]

    def _delete(self, trial_id: int) -> None:
        weights_file(self._run.directory, trial_id).unlink(missing_ok=True)
        del self._sizes[trial_id]

    def _checkpoint(self, trial: Trial, trained: TrainedWeights) -> Checkpoint:
        directory, images = self._run.directory, self._run.images
        accuracy = None if trained.accuracy is None else trained.accuracy.top1
        lineage = Provenance(
            run=path_text(directory), trial=trial.id, input=ProvenanceInput.of(images), accuracy=accuracy
        ).lineage()
        name = f"trial {trial.id} of {path_text(directory.resolve().name)}"
        architecture = architecture_from_dict(trial.architecture, source=f"{self._store.path}: trial {trial.id}")
        return Checkpoint(
            ArchitectureFile(architecture, name=name, lineage=lineage),
            images,
            trained.values,
            position=trained.position,
            accuracy=trained.accuracy,
        )
