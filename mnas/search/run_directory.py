"""The directory of one search: the trial store, the experiment it was started with, and the lock of its driver."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

import mnas
from mnas.data import ImageForm, InputForm, SearchData
from mnas.data.settings import ImageSettings
from mnas.documents.changes import changed_keys
from mnas.experiment import RESUMABLE_EXPERIMENT_KEYS, Experiment
from mnas.files import LOCK_FILE, RunDirectoryError, locked_directory
from mnas.search.store import StoreError, TrialStore

DATABASE = "trials.sqlite"
BEST_FILE = "best.yaml"


@contextmanager
def open_run(
    directory: Path, experiment: Experiment, data: SearchData, own_parts: Mapping[str, str] | None = None
) -> Iterator[TrialStore]:
    """Open the store of a run for searching: a new one, or that of a run of the same experiment.

    Args:
        directory: The run directory; made if it is new.
        experiment: What the run is started or resumed with.
        data: The images of the run.
        own_parts: The class names of the user's own trainer, latency meter and controller, by part.

    Raises:
        RunDirectoryError: Another process works on the run, it belongs to another experiment, other data or other
            parts, or the directory cannot be made.
    """
    with locked_directory(directory, "mnas search"):
        database = directory / DATABASE
        if not database.exists() and any(path.name != LOCK_FILE for path in directory.iterdir()):
            raise RunDirectoryError(f"{directory}: not empty and no run of mnas; choose a new directory with --run-dir")
        store = TrialStore(database, create=True)
        try:
            _check_or_start(directory, store, experiment, data, own_parts or {})
            yield store
        finally:
            store.close()


def _check_or_start(
    directory: Path, store: TrialStore, experiment: Experiment, data: SearchData, own_parts: Mapping[str, str]
) -> None:
    data_fingerprint = data.fingerprint()
    meta = store.meta()
    if "experiment" in meta:
        before = stored_experiment(directory, meta["experiment"])
        differences = changed_keys(before, experiment, RESUMABLE_EXPERIMENT_KEYS)
        if differences:
            raise RunDirectoryError(
                f"{directory}: this run was started with another experiment ({'; '.join(differences)}); "
                "undo the change, or start a new run with --run-dir"
            )
        _check_own_parts(directory, json.loads(meta.get("own_parts", "{}")), own_parts)
        if meta["data_fingerprint"] != data_fingerprint:
            raise RunDirectoryError(
                f"{directory}: the training data has changed since this run was started, so its accuracies cannot be "
                "compared with new ones; bring the data back, or start a new run with --run-dir"
            )
    store.set_meta(
        {
            "experiment": msgspec.json.encode(experiment).decode(),
            "data_fingerprint": data_fingerprint,
            "input": json.dumps(ImageForm.of(data.train).to_dict()),
            "images": msgspec.json.encode(experiment.data.input_form(data.train)).decode(),
            "reward_images": str(len(data.reward)),
            "own_parts": json.dumps(dict(own_parts)),
            "mnas_version": mnas.__version__,
        }
    )


def _check_own_parts(directory: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    for part in sorted(before.keys() | now.keys()):
        if before.get(part) != now.get(part):
            first, second = (parts.get(part, "that of the experiment") for parts in (before, now))
            raise RunDirectoryError(
                f"{directory}: this run was started with another {part} ({first} -> {second}), so its trials cannot be "
                "compared with new ones; pass the same one, or start a new run"
            )


@contextmanager
def read_store(directory: Path) -> Iterator[TrialStore]:
    """Open the store of a run for reading, also while the run is searched.

    Raises:
        RunDirectoryError: There is no such directory.
        StoreError: The directory holds no run.
    """
    if not directory.is_dir():
        raise RunDirectoryError(f"{directory}: no such directory; `mnas search` prints the directory of its run")
    store = TrialStore(directory / DATABASE)
    try:
        yield store
    finally:
        store.close()


def stored_images(directory: Path, meta: Mapping[str, str], experiment: Experiment) -> InputForm:
    """Return how a run's images were prepared, from what its store tells of it.

    Raises:
        StoreError: The stored text cannot be read.
    """
    if "images" not in meta:  # as mnas 0.1 wrote it, which had the built-in formats only and kept no class names
        assert isinstance(experiment.data, ImageSettings)
        form = ImageForm(**json.loads(meta["input"]))
        return experiment.data.prepared(form, None, experiment.data.normalize)
    try:
        return msgspec.json.decode(meta["images"], type=InputForm)
    except msgspec.DecodeError as error:
        raise StoreError(
            f"{directory}: how its images are prepared cannot be read ({error}); start a new run"
        ) from error


def stored_reward_images(meta: Mapping[str, str], experiment: Experiment) -> int | None:
    """Return the number of held-out training images that a run's accuracies are of; None if it is not known."""
    if "reward_images" in meta:
        return int(meta["reward_images"])
    return experiment.data.reward_images if isinstance(experiment.data, ImageSettings) else None


def stored_experiment(directory: Path, text: str) -> Experiment:
    """Return the experiment that a run has stored as JSON text.

    Raises:
        StoreError: The text is no experiment.
    """
    try:
        return msgspec.json.decode(text, type=Experiment)
    except (msgspec.DecodeError, json.JSONDecodeError) as error:
        raise StoreError(f"{directory}: the stored experiment cannot be read ({error}); start a new run") from error
