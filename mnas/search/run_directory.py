"""The directory of one search run: the trial store, the experiment it was started with, and the lock of its driver."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

import mnas
from mnas.data import SearchData
from mnas.experiment import Experiment, changed_keys
from mnas.files import LOCK_FILE, RunDirectoryError, locked_directory
from mnas.search.store import StoreError, TrialStore

DATABASE = "trials.sqlite"


@dataclass(frozen=True)
class Run:
    """An open run; `input_form` is what `search_space.lower` needs beside an architecture."""

    store: TrialStore
    experiment: Experiment
    input_form: Mapping[str, int]


@contextmanager
def open_run(directory: Path, experiment: Experiment, data: SearchData) -> Iterator[Run]:
    """Open a run for searching: made where it is new, resumed where it has been started with the same experiment.

    Raises RunDirectoryError where another process works on it, it belongs to another experiment or other data, or it
    cannot be made.
    """
    with locked_directory(directory, "mnas search"):
        database = directory / DATABASE
        if not database.exists() and any(path.name != LOCK_FILE for path in directory.iterdir()):
            raise RunDirectoryError(f"{directory}: not empty and no run of mnas; choose a new directory with --run-dir")
        store = TrialStore(database, create=True)
        try:
            _check_or_start(directory, store, experiment, data)
            yield Run(store, experiment, _input_form(data))
        finally:
            store.close()


def _check_or_start(directory: Path, store: TrialStore, experiment: Experiment, data: SearchData) -> None:
    data_fingerprint = data.fingerprint()
    meta = store.meta()
    if "experiment" in meta:
        differences = changed_keys(_stored_experiment(directory, meta["experiment"]), experiment)
        if differences:
            raise RunDirectoryError(
                f"{directory}: this run was started with another experiment ({'; '.join(differences)}); "
                "undo the change, or start a new run with --run-dir"
            )
        if meta["data_fingerprint"] != data_fingerprint:
            raise RunDirectoryError(
                f"{directory}: the training data has changed since this run was started, so its accuracies cannot be "
                "compared with new ones; bring the data back, or start a new run with --run-dir"
            )
    store.set_meta(
        {
            "experiment": msgspec.json.encode(experiment).decode(),
            "data_fingerprint": data_fingerprint,
            "input": json.dumps(_input_form(data)),
            "mnas_version": mnas.__version__,
        }
    )


@contextmanager
def read_run(directory: Path) -> Iterator[Run]:
    """Open a run for reading, while it is being searched too.

    Raises RunDirectoryError or StoreError where the directory holds no run.
    """
    if not directory.is_dir():
        raise RunDirectoryError(f"{directory}: no such directory; `mnas search` prints the directory of its run")
    store = TrialStore(directory / DATABASE)
    try:
        meta = store.meta()
        if "experiment" not in meta:
            raise RunDirectoryError(f"{directory}: the run has not begun yet; start it with `mnas search`")
        yield Run(store, _stored_experiment(directory, meta["experiment"]), json.loads(meta["input"]))
    finally:
        store.close()


def _input_form(data: SearchData) -> dict[str, int]:
    source = data.train
    return {"image_size": source.image_size, "channels": source.channels, "num_classes": source.num_classes}


def _stored_experiment(directory: Path, text: str) -> Experiment:
    try:
        return msgspec.json.decode(text, type=Experiment)
    except (msgspec.DecodeError, json.JSONDecodeError) as error:
        raise StoreError(f"{directory}: the stored experiment cannot be read ({error}); start a new run") from error
