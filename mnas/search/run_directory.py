"""The directory of one search: the trial store, the experiment it was started with, and the lock of its driver."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

import mnas
from latency import PhoneIdentity
from mnas.data import ImageForm, InputForm, SearchData
from mnas.data.settings import ImageCount, ImageSettings
from mnas.documents.changes import changed_keys
from mnas.documents.check import convert
from mnas.documents.errors import DocumentError
from mnas.documents.file_systems import storage_of
from mnas.documents.json_text import parse_json
from mnas.experiment import RESUMABLE_EXPERIMENT_KEYS, Experiment
from mnas.files import LOCK_FILE, RunDirectoryError, locked_directory
from mnas.mindspore_setup import Compute
from mnas.search.store import StoreError, TrialStore
from search_space import SearchSpace, SpaceError, architecture_from_dict

_T = TypeVar("_T")
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
DATABASE = "trials.sqlite"
BEST_FILE = "best.yaml"
# Neither changes a network. The size of a run's images is that of its data.
_SPACE_KEYS_FOR_PEOPLE = frozenset(("name", "description", "image_size"))


class _Named(msgspec.Struct, frozen=True):
    name: str


def is_run(directory: Path) -> bool:
    """Return whether a directory is that of a search."""
    return (directory / DATABASE).is_file()


@contextmanager
def open_run(
    directory: Path, experiment: Experiment, data: SearchData, own_parts: Mapping[str, str] | None = None
) -> Iterator[TrialStore]:
    """Open the store of a run for searching: a new one, or that of a run of the same experiment.

    A run keeps the content of what gives its numbers their meaning, and is resumed with the same only: the experiment,
    the search space, the fingerprint of the images, the own parts, and whether `mnas.kernels` train. Where the data and
    the file of the space are does not matter. A run of an earlier release, which has kept less, gets the rest now.
    `check_phones` does the same for the phones.

    Args:
        directory: The run directory; made if it is new.
        experiment: What the run is started or resumed with.
        data: The images of the run.
        own_parts: The class names of the user's own trainer, latency meter and controller, by part.

    Raises:
        RunDirectoryError: Another process works on the run, it belongs to another experiment, another space, other
            data or other parts, or the directory cannot be made.
    """
    with locked_directory(directory, "mnas search"):
        storage = storage_of(directory)
        if storage.kind == "unsafe":
            raise RunDirectoryError(
                f"{directory}: is on {storage.reason}, where a second search would not be noticed and a kill can "
                "damage the database; search on a disk of this machine (--run-dir), and copy the run by `mnas copy`"
            )
        database = directory / DATABASE
        if not database.exists() and any(path.name != LOCK_FILE for path in directory.iterdir()):
            raise RunDirectoryError(f"{directory}: not empty and no run of mnas; choose a new directory with --run-dir")
        store = TrialStore(database, create=True, shared=storage.kind == "shared")
        try:
            _check_or_start(directory, store, experiment, data, own_parts or {})
            yield store
        finally:
            store.close()


def _check_or_start(
    directory: Path, store: TrialStore, experiment: Experiment, data: SearchData, own_parts: Mapping[str, str]
) -> None:
    data_fingerprint = data.fingerprint()
    space = experiment.load_space()
    kernels = _kernels(experiment, own_parts)
    meta = store.meta()
    if "experiment" in meta:
        before = stored_experiment(directory, meta["experiment"])
        differences = changed_keys(before, experiment, RESUMABLE_EXPERIMENT_KEYS)
        differences += _changed_space(directory, meta, space) if "space" in meta else _undecodable(store, space)
        if differences:
            raise RunDirectoryError(
                f"{directory}: this run was started with another experiment ({'; '.join(differences)}); "
                "undo the change, or start a new run with --run-dir"
            )
        before_parts = _stored(directory, meta, "own_parts", dict[str, str]) if "own_parts" in meta else {}
        _check_own_parts(directory, before_parts, own_parts)
        if meta.get("data_fingerprint") != data_fingerprint:
            moved = [key for key in changed_keys(before, experiment) if key.startswith("data.directory:")]
            raise RunDirectoryError(
                f"{directory}: the training data has changed since this run was started"
                f"{''.join(f' ({key})' for key in moved)}, so its accuracies cannot be "
                "compared with new ones; bring the data back, or start a new run with --run-dir"
            )
        if kernels is not None and meta.get("kernels", kernels) != kernels:
            raise RunDirectoryError(
                f"{directory}: the children of this run were trained on another kind of machine (kernels of mnas used: "
                f"{meta['kernels']} -> {kernels}), so their accuracies cannot be compared with new ones; use such a "
                "machine again, or start a new run with --run-dir"
            )
    store.set_meta(
        {
            "experiment": msgspec.json.encode(experiment).decode(),
            "space": msgspec.json.encode(space).decode(),
            "data_fingerprint": data_fingerprint,
            "input": json.dumps(ImageForm.of(data.train).to_dict()),
            "images": msgspec.json.encode(experiment.data.input_form(data.train)).decode(),
            "reward_images": str(len(data.reward)),
            "own_parts": json.dumps(dict(own_parts)),
            "mnas_version": mnas.__version__,
        }
        | ({} if kernels is None else {"kernels": kernels})
    )


def _kernels(experiment: Experiment, own_parts: Mapping[str, str]) -> str | None:
    """Return whether `mnas.kernels` train the children, as text.

    Returns:
        None if the machines of a Ray cluster, or a trainer of the user's own, decide it.
    """
    if "trainer" in own_parts or experiment.search.ray_address is not None:
        return None
    uses_kernels = Compute.of_worker(experiment.device).uses_kernels(experiment.training.precision)
    return "yes" if uses_kernels else "no"


def _changed_space(directory: Path, meta: Mapping[str, str], space: SearchSpace) -> list[str]:
    """Return what differs between the search space of a run and the one it is resumed with."""
    before = _stored(directory, meta, "space", SearchSpace)
    differences = [
        f"space {change}" for change in changed_keys(before, space, _SPACE_KEYS_FOR_PEOPLE | frozenset(("blocks",)))
    ]
    if len(before.blocks) != len(space.blocks):
        differences.append(f"space blocks: {len(before.blocks)} -> {len(space.blocks)}")
    for number, (old, new) in enumerate(zip(before.blocks, space.blocks, strict=False)):
        differences += [f"space blocks[{number}].{change}" for change in changed_keys(old, new)]
    return differences


def _undecodable(store: TrialStore, space: SearchSpace) -> list[str]:
    """Return the first trial that is another network in this space: releases before 0.2 kept no space."""
    for trial in store.trials():
        source = f"{store.path}: trial {trial.id}"
        try:
            same = space.decode(trial.decisions) == architecture_from_dict(trial.architecture, source=source)
        except SpaceError:
            same = False
        if not same:
            return [f"space: trial {trial.id} is no longer the network that its decisions stand for"]
    return []


def check_phones(directory: Path, store: TrialStore, phones: Mapping[str, Collection[PhoneIdentity]]) -> None:
    """Check that the phones of a run are what they were at its start; a run that has not kept them keeps them now.

    Units of one phone model may have been several builds from the start; each is one of those that were kept.

    Args:
        directory: The run directory.
        store: The run's store.
        phones: Those that can be reached, by the name in the experiment.

    Raises:
        RunDirectoryError: A phone has another build, another processor or another engine, so that its latencies
            cannot be compared with those of the run.
    """
    meta = store.meta()
    kept = _stored(directory, meta, "phones", dict[str, list[dict[str, str]]]) if "phones" in meta else {}
    for name, identities in phones.items():
        now = [_what_runs(identity) for identity in identities]
        before = kept.setdefault(name, [])
        if not before:
            before += [facts for index, facts in enumerate(now) if facts not in now[:index]]
        for facts, identity in zip(now, identities, strict=True):
            if facts not in before:
                changes = "; ".join(
                    f"{key}: {before[0].get(key)} -> {facts[key]}" for key in facts if before[0].get(key) != facts[key]
                )
                raise RunDirectoryError(f"{directory}: {_remedy(name, identity.kind, changes)}")
    store.set_meta({"phones": json.dumps(kept)})


def keep_overhead(store: TrialStore, overhead_s: float) -> None:
    """Keep what the last session of a run has taken before its first proposal and after its last trial, in seconds."""
    store.set_meta({"overhead_s": json.dumps(round(max(0.0, overhead_s), 3))})


def stored_overhead_s(directory: Path, meta: Mapping[str, str]) -> float | None:
    """Return what `keep_overhead` has kept in a run; None if nothing was.

    Raises:
        StoreError: The stored text is no time.
    """
    return _stored(directory, meta, "overhead_s", _Seconds) if "overhead_s" in meta else None


def _what_runs(identity: PhoneIdentity) -> dict[str, str]:
    return {key: getattr(identity, key) for key in ("fingerprint", "engine", "engine_version", "runtime")}


def _remedy(name: str, kind: str, changes: str) -> str:
    if kind == "host":
        return (
            f"the latencies of this run were measured on another machine or by another engine ({name}: {changes}), so "
            "they cannot be compared with new ones; resume the run there, or measure every network again here: start a "
            "new run of the same experiment with --run-dir"
        )
    return (
        f"phone {name!r} has changed since this run was started ({changes}), so its latencies cannot be compared with "
        "new ones; bring the phone back to what it was, or start a new run with --run-dir"
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
        if not isinstance(experiment.data, ImageSettings):
            raise StoreError(f"{directory}: how its images are prepared is not stored; start a new run")
        form = _stored(directory, meta, "input", ImageForm)
        return experiment.data.prepared(form, None, experiment.data.normalize)
    return _stored(directory, meta, "images", InputForm)


def stored_space_name(directory: Path, meta: Mapping[str, str], experiment: Experiment) -> str:
    """Return the name of a run's search space.

    Raises:
        StoreError: The stored text cannot be read.
    """
    if "space" not in meta:  # as mnas 0.1 wrote it
        return experiment.load_space().name
    return _stored(directory, meta, "space", _Named).name


def stored_reward_images(directory: Path, meta: Mapping[str, str], experiment: Experiment) -> int | None:
    """Return the number of held-out training images that a run's accuracies are of; None if it is not known.

    Raises:
        StoreError: The stored text is no number of images.
    """
    if "reward_images" in meta:
        return _stored(directory, meta, "reward_images", ImageCount)
    return experiment.data.reward_images if isinstance(experiment.data, ImageSettings) else None


def _stored(directory: Path, meta: Mapping[str, str], key: str, type_: type[_T]) -> _T:
    """Return a value that a run has stored as JSON text.

    Raises:
        StoreError: The text is of another form.
    """
    source = f"{directory}: the stored `{key}`"
    try:
        return convert(parse_json(meta[key], source=source), type_, source=source)
    except DocumentError as error:
        raise StoreError(f"{error}; start a new run") from error


def stored_experiment(directory: Path, text: str) -> Experiment:
    """Return the experiment that a run has stored as JSON text.

    Raises:
        StoreError: The text is no experiment.
    """
    try:
        return Experiment.from_stored(text, source=f"{directory}: the stored experiment")
    except DocumentError as error:
        raise StoreError(f"{error}; start a new run") from error
