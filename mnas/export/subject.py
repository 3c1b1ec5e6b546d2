"""What is exported: a network with its weights, and what is known of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from latency import LatencyRecord
from mnas.checkpoints.checkpoint import Checkpoint
from mnas.checkpoints.load import load_checkpoint
from mnas.checkpoints.provenance import Provenance, ProvenanceInput, ProvenanceWeights
from mnas.data import ImageForm, InputForm
from mnas.documents.user_paths import path_text
from mnas.errors import ConfigurationError
from mnas.export.source import Source
from mnas.network.weights import initial_weights
from search_space import ArchitectureFile, LoweredNetwork, Published

INITIAL, INITIAL_SEED = "initial", 0
# What lineage tells of the very network that was searched; another width or input makes it another network.
_OF_THE_NETWORK = ("accuracy", "latency_ms", "target_ms", "reward", "latency")


@dataclass(frozen=True)
class Subject:
    """A network to export.

    Attributes:
        checkpoint: Architecture with lineage, input, weights and, after a training, their accuracy.
        source: The architecture as it was found.
        provenance: Where the exported network comes from; the checkpoint's lineage holds it.
        as_found: Whether it is the very network of the source, not one of another width or input.
        width: By which the source was scaled.
        weights_from: The checkpoint file of the weights; None if they are initial (the checkpoint of an export may hold
            initial weights too).
        published: Numbers from the literature for this network and its training.
        is_child: Whether the weights are those that the search has kept of its child.
    """

    checkpoint: Checkpoint
    source: Source
    provenance: Provenance
    as_found: bool
    width: float
    weights_from: Path | None
    published: Published | None
    is_child: bool = False

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.checkpoint.architecture.name or "network"

    @property
    def network(self) -> LoweredNetwork:
        """The network, lowered for its input."""
        return self.checkpoint.network()

    @property
    def is_trained(self) -> bool:
        """Whether the weights come from a training."""
        return self.weights_from is not None

    def released_checkpoint(self) -> Checkpoint:
        """Return the checkpoint of the export: only the weights to evaluate, without what resuming needs."""
        kept = self.checkpoint
        return Checkpoint(
            kept.architecture, kept.input, kept.best_weights(), position=kept.position, accuracy=kept.accuracy
        )

    def latencies(self) -> tuple[LatencyRecord, ...]:
        """Return the latency records of this very network.

        Raises:
            ConfigurationError: They cannot be read.
        """
        try:
            return tuple(self.provenance.latency_records())
        except (ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"{self.source.origin}: its latency record cannot be read ({error}); export it with the release of "
                "mnas that measured it"
            ) from error


@dataclass(frozen=True)
class Adaptation:
    """What a user changes about a source. None keeps what the source has, or the checkpoint.

    Attributes:
        width: Multiplies every width but the head's.
        image_size: Height and width of the input, in pixels.
        channels: Channels of the input.
        num_classes: Number of classes.
    """

    width: float = 1.0
    image_size: int | None = None
    channels: int | None = None
    num_classes: int | None = None

    def check(self, form: InputForm, path: Path) -> None:
        """Raise ConfigurationError if a checkpoint's input is not the one that was asked for."""
        for option, wanted, found in (
            ("--image-size", self.image_size, form.image_size),
            ("--channels", self.channels, form.channels),
            ("--classes", self.num_classes, form.num_classes),
        ):
            if wanted not in (None, found):
                raise ConfigurationError(f"{option}: the network of {path} has {found}, not {wanted}; leave it out")

    def apply(self, form: InputForm) -> InputForm:
        """Return the input with the changes.

        Raises:
            ConfigurationError: Nothing tells how other channels are normalized.
        """
        num_classes = form.num_classes if self.num_classes is None else self.num_classes
        changed = msgspec.structs.replace(
            form,
            image_size=form.image_size if self.image_size is None else self.image_size,
            channels=form.channels if self.channels is None else self.channels,
            num_classes=num_classes,
            class_names=form.class_names if num_classes == form.num_classes else None,
        )
        if changed.channels != len(changed.mean):
            raise ConfigurationError(
                f"--channels: the source's images have {form.channels} channels, so {changed.channels} have no "
                "normalization; export an architecture.yaml whose lineage.input gives `mean` and `std` for them"
            )
        return changed


def subject_of(source: Source, adaptation: Adaptation, checkpoint_path: Path | None) -> Subject:
    """Return a source with its width, its input and its weights.

    Args:
        source: The architecture as it was found.
        adaptation: What is changed about it.
        checkpoint_path: File of the weights. None takes those that the search has kept if nothing is changed, else
            initial weights.

    Raises:
        CheckpointError: The file is no checkpoint, or is of another network.
        ConfigurationError: The input of the checkpoint is not the one that was asked for.
    """
    scaled = _scaled(source.architecture, adaptation.width)
    child = source.child() if checkpoint_path is None and adaptation == Adaptation() else None
    if child is not None:
        checkpoint_path, checkpoint = child
    elif checkpoint_path is None:
        form = adaptation.apply(source.input)
        network = ImageForm.of(form).lower(scaled.architecture)
        checkpoint = Checkpoint(scaled, form, initial_weights(network, INITIAL_SEED))
    else:
        checkpoint = load_checkpoint(checkpoint_path, scaled, adaptation.image_size)
        adaptation.check(checkpoint.input, checkpoint_path)
    trained = None if _has_initial_weights(checkpoint) else checkpoint_path
    as_found = checkpoint.network() == ImageForm.of(source.input).lower(source.architecture.architecture)
    provenance = _provenance(source, adaptation, checkpoint, trained, as_found)
    lineage = provenance.lineage(scaled.lineage)
    checkpoint = replace(checkpoint, architecture=replace(scaled, lineage=lineage))
    published = _published(source, adaptation, checkpoint)
    return Subject(checkpoint, source, provenance, as_found, adaptation.width, trained, published, child is not None)


def _has_initial_weights(checkpoint: Checkpoint) -> bool:
    # A training keeps the lineage of its architecture as it is, what an export says about its weights included.
    return checkpoint.position.step == 0 and checkpoint.architecture.lineage.get("weights") == "initial"


def _scaled(file: ArchitectureFile, width: float) -> ArchitectureFile:
    if width == 1:
        return file
    # A scaled network is in no search space, so it has no indices there.
    return replace(
        file, architecture=file.architecture.scaled(width), name=f"{file.name} x{width:g}", space=None, indices=None
    )


def _provenance(
    source: Source, adaptation: Adaptation, checkpoint: Checkpoint, path: Path | None, as_found: bool
) -> Provenance:
    found = source.provenance if as_found else source.provenance.of_another_network()
    return msgspec.structs.replace(
        found,
        width=found.width * adaptation.width,
        input=ProvenanceInput.of(checkpoint.input),
        weights="initial" if path is None else ProvenanceWeights.of(path_text(path), checkpoint),
    )


def _published(source: Source, adaptation: Adaptation, checkpoint: Checkpoint) -> Published | None:
    """Return the published numbers, which are of ImageNet at 224 pixels."""
    form = checkpoint.input
    if source.reference is None or (form.image_size, form.channels, form.num_classes) != (224, 3, 1000):
        return None
    at_width = (entry for entry in source.reference.published if math.isclose(entry.width, adaptation.width))
    return next(at_width, None)
