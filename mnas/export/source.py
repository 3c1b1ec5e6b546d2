"""Where an exported network comes from: a trial of a search, a reference network, or an architecture file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mnas.checkpoints.checkpoint import Checkpoint
from mnas.checkpoints.foreign import check_holds_no_weights
from mnas.checkpoints.image_input import conventional_input
from mnas.checkpoints.provenance import Provenance
from mnas.data import InputForm
from mnas.documents.names import is_path
from mnas.documents.user_paths import path_text, user_path
from mnas.errors import ConfigurationError
from mnas.files import RunDirectoryError
from mnas.search.run import Run
from mnas.search.store import Trial
from mnas.search.weights import read_weights
from search_space import (
    ArchitectureFile,
    Reference,
    read_architecture,
    reference,
    reference_names,
)

IMAGENET_INPUT = conventional_input(image_size=224, channels=3, num_classes=1000)


@dataclass(frozen=True)
class Source:
    """An architecture as it was found, and what its finder knew: at width 1, before any training.

    Attributes:
        architecture: The architecture with its name; its lineage may have keys of other tools.
        provenance: Where it comes from.
        input: The images that it takes.
        origin: Where it comes from in words, for people.
        trial: Of a search; together with `run`, or None.
        run: Of that search.
        reference: The reference network that it is.
    """

    architecture: ArchitectureFile
    provenance: Provenance
    input: InputForm
    origin: str
    trial: Trial | None = None
    run: Run | None = None
    reference: Reference | None = None

    def child(self) -> tuple[Path, Checkpoint] | None:
        """Return the file and the trained weights that the search has kept of this network; None without any.

        Raises:
            CheckpointError: The file is damaged, or of another training.
        """
        if self.run is None or self.trial is None:
            return None
        path = self.run.weights(self.trial)
        return None if path is None else (path, read_weights(self.run, self.trial))


def find_source(what: str, trial_id: int | None = None) -> Source:
    """Return what a user has named: a run directory, a reference network or an architecture file.

    Args:
        what: The path or the name.
        trial_id: Number of a trial of a run; None takes the best.

    Raises:
        ConfigurationError: There is no such run, or a trial was named for something that is no run.
        SpaceError: There is no such reference network.
        DocumentError: The architecture file cannot be read.
        RunDirectoryError: The run has not begun, or has no such complete trial.
        StoreError: The run cannot be read, or has no trial of that number.
    """
    path = user_path(what)
    if path.is_dir():
        run = Run.open(path)
        return source_of_trial(run, run.best() if trial_id is None else run.trial(trial_id))
    if trial_id is not None:
        raise ConfigurationError(f"--trial: {what} is no run directory, and only a run has trials; leave it out")
    check_holds_no_weights(path)
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
    provenance = Provenance(
        run=path_text(run.directory),
        trial=trial.id,
        accuracy=trial.accuracy,
        latency_ms=trial.latency_ms,
        target_ms=run.experiment.latency.target_ms,
        reward=trial.reward,
        latency=None if trial.latency is None else dict(trial.latency),
    )
    origin = f"trial {trial.id} of the search in {path_text(run.directory)}"
    return Source(run.architecture_file(trial), provenance, run.images, origin, trial, run)


def _from_reference(name: str) -> Source:
    found = reference(name)
    architecture = ArchitectureFile(found.architecture, name=name)
    origin = f"the reference network {name}"
    return Source(architecture, Provenance(reference=name), IMAGENET_INPUT, origin, reference=found)


def _from_file(path: Path) -> Source:
    file = read_architecture(path)
    named = file if file.name is not None else replace(file, name=path_text(path.stem))
    provenance = Provenance.of(file.lineage, str(path))
    form = IMAGENET_INPUT if provenance.input is None else provenance.input.form()
    return Source(named, provenance, form, f"the architecture file {path_text(path)}")
