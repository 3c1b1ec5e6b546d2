"""Where an architecture comes from: the key `lineage` of architecture files and checkpoints, as a typed record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from latency import LatencyRecord
from mnas.checkpoints.checkpoint import Accuracy, Checkpoint
from mnas.checkpoints.image_input import conventional_input
from mnas.data import InputForm
from mnas.data.image_form import Interpolation
from mnas.documents.check import convert
from search_space import ArchitectureFile

_OF_THE_NETWORK = ("accuracy", "latency_ms", "other_latencies_ms", "target_ms", "reward", "latency")
_NOT_IN_RECORDS = ("latency_ms", "others")


class ProvenanceInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The images that a network was searched or exported for.

    Releases before 0.2 wrote the first three only when a search ended. What is missing is by convention.

    Attributes:
        image_size: Height and width, in pixels.
        channels: 1 for grey, 3 for RGB.
        num_classes: Number of classes.
        mean: Mean of each channel, of pixel values scaled to 0..1.
        std: Standard deviation of each channel, of pixel values scaled to 0..1.
        evaluation_crop: Side of the centred square that is resized to the input, as a fraction of the shorter side.
        interpolation: Filter of that resizing.
        class_names: Name of each class; the position is the label.
    """

    image_size: int
    channels: int
    num_classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    evaluation_crop: float | None = None
    interpolation: Interpolation | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if a list has not one entry for each channel or class."""
        for name, found, needed in (
            ("mean", self.mean, self.channels),
            ("std", self.std, self.channels),
            ("class_names", self.class_names, self.num_classes),
        ):
            if found is not None and len(found) != needed:
                raise ValueError(
                    f"`{name}` has {len(found)} values; {needed} are needed, one for each channel or class"
                )

    @classmethod
    def of(cls, form: InputForm) -> ProvenanceInput:
        """Return the record of an input."""
        return cls(**{name: getattr(form, name) for name in cls.__struct_fields__})

    def form(self) -> InputForm:
        """Return the input that is recorded."""
        conventional = conventional_input(self.image_size, self.channels, self.num_classes)
        told = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(conventional, **told)


def recorded_input(architecture: ArchitectureFile, source: str) -> InputForm | None:
    """Return the input that an architecture file records under `lineage.input`; None if it records none.

    Args:
        architecture: The file.
        source: Names it in messages.

    Raises:
        DocumentError: A key has a value of another form.
    """
    recorded = Provenance.of(architecture.lineage, source).input
    return None if recorded is None else recorded.form()


class ProvenanceWeights(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The checkpoint that weights were taken from.

    Attributes:
        checkpoint: Path of the file.
        epoch: Epochs of training.
        step: Optimizer steps of training.
        accuracy: The validation of the weights, if there was one.
    """

    checkpoint: str
    epoch: int
    step: int
    accuracy: Accuracy | None = None

    @classmethod
    def of(cls, path: str, checkpoint: Checkpoint) -> ProvenanceWeights:
        """Return the record of the weights of a checkpoint."""
        position = checkpoint.position
        return cls(checkpoint=path, epoch=position.epoch, step=position.step, accuracy=checkpoint.accuracy)


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an architecture comes from. What is not known is left out.

    Attributes:
        run: Run directory of the search that found it.
        trial: Number of its trial there.
        reference: Name of the reference network that it is.
        input: The images that it takes.
        accuracy: Accuracy of the child on the reward set, 0..1.
        latency_ms: Latency that the search measured.
        other_latencies_ms: Latency on each further phone of the search, by name.
        target_ms: Target latency of the search.
        reward: Reward of the trial.
        latency: The whole latency record; under `others` those of further phones, by name.
        width: By which every width of the source was multiplied.
        weights: `initial`, or the checkpoint that an export took them from.
    """

    run: str | int | None = None
    trial: str | int | None = None
    reference: str | None = None
    input: ProvenanceInput | None = None
    accuracy: float | None = None
    latency_ms: float | None = None
    other_latencies_ms: dict[str, float] | None = None
    target_ms: float | None = None
    reward: float | None = None
    latency: dict[str, Any] | None = None
    width: float = 1.0
    weights: Literal["initial"] | ProvenanceWeights | None = None

    @classmethod
    def of(cls, lineage: Mapping[str, Any], source: str) -> Provenance:
        """Read the key `lineage` of an architecture file; keys of other tools are passed over.

        Args:
            lineage: Its content.
            source: Names the file in messages.

        Raises:
            DocumentError: A key has a value of another form.
        """
        return convert(dict(lineage), cls, source=f"{source}: lineage")

    def lineage(self, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the content of the key `lineage`: this record, and the keys of other tools in `before`."""
        own: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))  # plain lists, as YAML reads them back
        return own | {key: value for key, value in (before or {}).items() if key not in self.__struct_fields__}

    def of_another_network(self) -> Provenance:
        """Return the record without the numbers of the very network that was searched."""
        return msgspec.structs.replace(self, **dict.fromkeys(_OF_THE_NETWORK))

    def latency_records(self) -> Iterator[LatencyRecord]:
        """Yield the latency record of every phone that the network was timed on.

        Raises:
            ValueError: A record is of another form.
        """
        if self.latency is None:
            return
        # `latency_ms` stands next to each record for readers without its class.
        for record in (self.latency, *self.latency.get("others", {}).values()):
            yield LatencyRecord.from_dict({key: value for key, value in record.items() if key not in _NOT_IN_RECORDS})
