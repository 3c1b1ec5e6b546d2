"""The run directory of one retraining: the settings at its start, its checkpoints, and the best of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

import mnas
from mnas.checkpoints.checkpoint import (
    CHECKPOINT_SUFFIX,
    Accuracy,
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)
from mnas.documents.changes import changed_keys
from mnas.documents.check import convert
from mnas.files import LOCK_FILE, RunDirectoryError, locked_directory, make_folder, write_atomically
from mnas.retrain.recipe import RESUMABLE_RECIPE_KEYS, Recipe
from search_space import ArchitectureFile, ArchitectureFileFields, architecture_file_to_dict

START_FILE = "retraining.json"
COUNTERS = frozenset(("loss_scale", "good_steps", "loss_sum", "loss_steps"))
"""What `Checkpoint.counters` of a training has."""
INIT_FILE = f"init{CHECKPOINT_SUFFIX}"
LAST_FILE = f"last{CHECKPOINT_SUFFIX}"
BEST_FOLDER = "best"
TEST_FILE = "test.json"
PROCESSES_FOLDER = "processes"  # output of all processes but the first; `--cards` writes it


_NOT_OURS = "has no accuracy, so it is not one of the best checkpoints; remove it, and run the same command again"


class InitRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The trained weights that a retraining started from.

    Attributes:
        path: Where they were from; `init.safetensors` keeps them.
        drawn: Why the classifier was drawn again; empty if it was not.
    """

    path: str
    drawn: str = ""


class _StartRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a retraining was started with; the content of `retraining.json`."""

    recipe: Recipe
    architecture: ArchitectureFileFields
    data_fingerprint: str
    mnas_version: str
    init: InitRecord | None = None


class FinalAccuracy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one look at the test set, if other images validate; the content of `test.json`.

    Attributes:
        checkpoint: The file that was tested, in the run directory.
        accuracy: On the test set.
        validation: Of the same weights, on the held-out images.
    """

    checkpoint: str
    accuracy: Accuracy
    validation: Accuracy


@dataclass(frozen=True)
class RetrainDirectory:
    """An open run directory.

    It holds `last.safetensors`, `best/epoch-NNNN.safetensors`, `epochs.csv`, `steps.csv`, `tensorboard/`, if held-out
    images validate `test.json`, and if it started from trained weights `init.safetensors`. Of several processes, only
    the first writes.
    """

    path: Path

    def last(self) -> Checkpoint | None:
        """Return the checkpoint to resume from, None before the first.

        Raises:
            CheckpointError: It is damaged.
        """
        path = self.path / LAST_FILE
        if not path.exists():
            return None
        checkpoint = read_checkpoint(path)
        if missing := sorted(COUNTERS - checkpoint.counters.keys()):
            raise CheckpointError(
                f"{path}: `counters` has no {', '.join(missing)}, so no training can be resumed from it; restore it "
                "from a copy"
            )
        for name in ("good_steps", "loss_steps"):
            if not 0 <= (value := checkpoint.counters[name]) == round(value):
                raise CheckpointError(
                    f"{path}: 'counters.{name}' is {value}, and no training writes that; it must be a whole number: "
                    "restore the file from a copy"
                )
        return checkpoint

    def keep_init(self, checkpoint: Checkpoint) -> None:
        """Keep the weights at the start, so that a resumed training does not need their file."""
        path = self.path / INIT_FILE
        if not path.exists():
            write_checkpoint(path, checkpoint)

    def write_last(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint to resume from."""
        write_checkpoint(self.path / LAST_FILE, checkpoint)

    def tested(self) -> FinalAccuracy | None:
        """Return the result of the test set, None before it was looked at.

        Raises:
            RunDirectoryError: The file cannot be read.
        """
        file = self.path / TEST_FILE
        if not file.exists():
            return None
        try:
            return msgspec.json.decode(file.read_bytes(), type=FinalAccuracy)
        except msgspec.DecodeError as error:
            raise RunDirectoryError(
                f"{file}: cannot be read ({error}); remove it, and the same command tests the network again"
            ) from error

    def write_tested(self, tested: FinalAccuracy) -> None:
        """Keep the result of the test set."""
        write_atomically(self.path / TEST_FILE, msgspec.json.format(msgspec.json.encode(tested)))

    def best_files(self) -> list[Path]:
        """Return the files of the best checkpoints, best first."""
        return [path for _, path in self._ranked()]

    def write_if_best(self, checkpoint: Checkpoint, keep: int) -> None:
        """Keep a validated checkpoint if it is among the `keep` best, without the parts for resuming."""
        if keep == 0:
            return
        folder = self.path / BEST_FOLDER
        make_folder(folder)
        path = folder / f"epoch-{checkpoint.position.epoch:04}{CHECKPOINT_SUFFIX}"
        write_checkpoint(path, replace(checkpoint, training={}, counters={}))
        for _, worse in self._ranked()[keep:]:
            worse.unlink()

    def _ranked(self) -> list[tuple[tuple[float, float], Path]]:
        ranked = []
        for path in sorted((self.path / BEST_FOLDER).glob(f"epoch-*{CHECKPOINT_SUFFIX}")):
            accuracy = _read_best(path).accuracy
            if accuracy is None:
                raise CheckpointError(f"{path}: {_NOT_OURS}")
            ranked.append(((-accuracy.top1, accuracy.loss), path))
        return sorted(ranked)


def _read_best(path: Path) -> Checkpoint:
    try:
        return read_checkpoint(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. Without the file the training goes on, too: remove it, and run the same command again"
        ) from error


@contextmanager
def open_directory(
    path: Path,
    recipe: Recipe,
    architecture: ArchitectureFile,
    data_fingerprint: str,
    init: InitRecord | None = None,
) -> Iterator[InitRecord | None]:
    """Lock a directory for training: make it if it is new, or resume a training that was started the same way.

    Args:
        path: The directory.
        recipe: The recipe; the keys of `RESUMABLE_RECIPE_KEYS` may differ from those at the start.
        architecture: What is trained.
        data_fingerprint: Hash of the images.
        init: The trained weights that it starts from; None for drawn ones.

    Yields:
        `init` as it was at the start of the training.

    Raises:
        RunDirectoryError: Another process works on it, it belongs to another recipe, architecture or other data, or it
            cannot be made.
    """
    start = _StartRecord(
        recipe=recipe,
        architecture=convert(architecture_file_to_dict(architecture), ArchitectureFileFields, source="architecture"),
        data_fingerprint=data_fingerprint,
        mnas_version=mnas.__version__,
        init=init,
    )
    with locked_directory(path, "mnas retrain"):
        file = path / START_FILE
        if file.exists():
            before = _read_start(file)
            _check_same(path, before, start)
            start = msgspec.structs.replace(start, init=before.init)
        elif any(entry.name not in (LOCK_FILE, PROCESSES_FOLDER) for entry in path.iterdir()):
            raise RunDirectoryError(f"{path}: not empty and no retraining; choose a new directory with --run-dir")
        write_atomically(file, msgspec.json.format(msgspec.json.encode(start)))
        yield start.init


def _read_start(file: Path) -> _StartRecord:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_StartRecord)
    except msgspec.DecodeError as error:
        raise RunDirectoryError(f"{file}: cannot be read ({error}); choose a new directory with --run-dir") from error


def _check_same(path: Path, before: _StartRecord, now: _StartRecord) -> None:
    changed = changed_keys(before.recipe, now.recipe, RESUMABLE_RECIPE_KEYS)
    changed += [f"architecture {each}" for each in changed_keys(before.architecture, now.architecture)]
    starts = [None if start.init is None else start.init.path for start in (before, now)]
    if starts[0] != starts[1]:
        changed.append(f"init: {starts[0] or 'absent'} -> {starts[1] or 'absent'}")
    if changed:
        raise RunDirectoryError(
            f"{path}: this retraining was started differently ({'; '.join(changed)}); undo the change, or start "
            "another training with --run-dir"
        )
    if before.data_fingerprint != now.data_fingerprint:
        raise RunDirectoryError(
            f"{path}: the data has changed since this retraining was started; bring it back, or start another training "
            "with --run-dir"
        )
