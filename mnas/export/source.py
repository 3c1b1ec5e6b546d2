"""Where an exported network comes from: a trial of a search, a reference network, or an architecture file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from mnas.checkpoints.image_input import conventional_input
from mnas.data import InputForm
from mnas.data.image_form import Interpolation
from mnas.documents.check import convert
from mnas.documents.names import is_path
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment
from mnas.files import RunDirectoryError
from mnas.search.run import Run
from mnas.search.store import Trial
from search_space import (
    ArchitectureFile,
    Reference,
    read_architecture,
    reference,
    reference_names,
)

IMAGENET_FORM = {"image_size": 224, "channels": 3, "num_classes": 1000}


@dataclass(frozen=True)
class Source:
    """An architecture as it was found, and what its finder knew: at width 1, before any training.

    origin: in words, for people.
    trial, experiment: of a search; both or neither.
    reference: the reference network that it is.
    """

    architecture: ArchitectureFile
    input: InputForm
    origin: str
    trial: Trial | None = None
    experiment: Experiment | None = None
    reference: Reference | None = None


def find_source(what: str, trial_id: int | None = None) -> Source:
    """Find what a user has named: a run directory, a reference network or an architecture file.

    `trial_id` chooses a trial of a run; None takes the best. Raises ConfigurationError where it is given for anything
    else, Error where the run has no such complete trial, and what reading the file or the run raises.
    """
    path = Path(what)
    if path.is_dir():
        run = Run.open(path)
        return source_of_trial(run, run.best() if trial_id is None else run.trial(trial_id))
    if trial_id is not None:
        raise ConfigurationError(f"--trial: {what} is no run directory, and only a run has trials; leave it out")
    if what in reference_names():
        return _from_reference(what)
    if is_path(what) and not path.exists() and path.suffix not in (".yaml", ".yml"):
        raise ConfigurationError(
            f"{what}: no such run directory; give one that `mnas search` has made, an architecture.yaml or the name of "
            f"a reference network ({', '.join(reference_names())})"
        )
    return _from_file(path) if is_path(what) else _from_reference(what)


def source_of_trial(run: Run, trial: Trial) -> Source:
    """Return the network of a trial.

    Raises:
        RunDirectoryError: The trial is not complete.
    """
    if trial.state != "complete":
        raise RunDirectoryError(
            f"{run.directory}: trial {trial.id} is {trial.state}; `mnas show {run.directory}` lists complete ones"
        )
    lineage = {
        "run": str(run.directory),
        "trial": trial.id,
        "accuracy": trial.accuracy,
        "latency_ms": trial.latency_ms,
        "target_ms": run.experiment.latency.target_ms,
        "reward": trial.reward,
        "latency": trial.latency,
    }
    architecture = replace(run.architecture_file(trial), lineage=lineage)
    origin = f"trial {trial.id} of the search in {run.directory}"
    return Source(architecture, run.images, origin, trial, run.experiment)


def _from_reference(name: str) -> Source:
    found = reference(name)
    architecture = ArchitectureFile(found.architecture, name=name, lineage={"reference": name})
    return Source(architecture, conventional_input(**IMAGENET_FORM), f"the reference network {name}", reference=found)


class _LineageInput(msgspec.Struct, frozen=True, kw_only=True):
    """What lineage may say of the input: the first three as a search writes them, all of them as an export does."""

    image_size: int
    channels: int
    num_classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    evaluation_crop: float | None = None
    interpolation: Interpolation | None = None


def _from_file(path: Path) -> Source:
    file = read_architecture(path)
    named = file if file.name is not None else replace(file, name=path.stem)
    return Source(named, lineage_input(file.lineage, str(path)), f"the architecture file {path}")


def lineage_input(lineage: Mapping[str, Any], source: str) -> InputForm:
    """Return the input that an architecture file's lineage tells of; what it leaves out is by convention.

    `source` names the file in messages. Raises DocumentError where `lineage.input` is of another form.
    """
    told = convert(lineage.get("input", IMAGENET_FORM), _LineageInput, source=f"{source}: lineage.input")
    form = conventional_input(told.image_size, told.channels, told.num_classes)
    more = {key: getattr(told, key) for key in ("mean", "std", "evaluation_crop", "interpolation")}
    return msgspec.structs.replace(form, **{key: value for key, value in more.items() if value is not None})
