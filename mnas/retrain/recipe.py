"""A recipe: the YAML file of a full training, validated once and immutable from then on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mnas.data import DataSettings, DigitsSettings
from mnas.documents import yaml_file
from mnas.documents.check import convert
from mnas.errors import ConfigurationError
from mnas.mindspore_setup import Compute, Device
from mnas.retrain.mindcv_recipe import is_mindcv_recipe, translate
from mnas.training.settings import TrainingSettings

Count = Annotated[int, Meta(ge=1)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a network is fully trained, and on what.

    architecture, width: what is trained where the command names nothing else; as in `mnas arch describe`.
    data: all training images are trained on; the test set validates.
    num_classes: where given, the data must have so many.
    micro_batch_size: images that go through a device at a time, and that a batch norm sees. A batch of `training` that
        is larger is divided among the devices, and its gradients are accumulated. Absent: the batch divided by the
        number of devices.
    validate_every_epochs: the last epoch is always validated.
    checkpoint_every_steps: within an epoch; absent: at the end of each. What comes after a checkpoint is lost when the
        training is stopped.
    keep_best: how many of the checkpoints with the best top-1 are kept, beside the last.
    log_every_steps: steps that one line of `steps.csv` sums up.
    sink_steps: steps that an Ascend device takes between two looks at their loss, their data sent ahead (MindSpore's
        data sinking); must divide the steps between checkpoints. Absent: no sinking.
    threads: of the CPU, for each process; absent: MindSpore's default. With 1, `mnas.kernels` train where they can; a
        resume with another number goes on from the same state, but its steps differ by rounding.
    """

    training: TrainingSettings
    data: DataSettings
    architecture: str | None = None
    width: Annotated[float, Meta(gt=0)] = 1.0
    num_classes: Annotated[int, Meta(ge=2)] | None = None
    micro_batch_size: Annotated[int, Meta(ge=2)] | None = None
    validate_every_epochs: Count = 1
    checkpoint_every_steps: Count | None = None
    keep_best: Annotated[int, Meta(ge=0)] = 3
    log_every_steps: Count = 50
    sink_steps: Count | None = None
    threads: Count | None = None
    device: Device = "CPU"
    seed: Annotated[int, Meta(ge=0, lt=2**31)] = 0

    def __post_init__(self) -> None:
        """Raise ValueError for data sinking where MindSpore has none."""
        if self.sink_steps is not None and self.device != "Ascend":
            raise ValueError("`sink_steps` is for `device: Ascend`; MindSpore sinks no data on a CPU")

    @property
    def compute(self) -> Compute:
        """What each process computes on."""
        return Compute(self.device, self.threads)

    def with_data_directory(self, directory: str) -> Recipe:
        """Return the recipe for data in another place. Raises ConfigurationError where its data is in no directory."""
        if isinstance(self.data, DigitsSettings):
            raise ConfigurationError(
                "the recipe trains on the digits that come with mnas, which are in no directory: leave --data out, or "
                "write `format: image_folder` in the recipe"
            )
        return msgspec.structs.replace(self, data=msgspec.structs.replace(self.data, directory=directory))


# What may be changed when a training is resumed: none of it alters what is trained, or on what.
RESUMABLE_RECIPE_KEYS = frozenset(("data.directory", "keep_best", "log_every_steps", "threads"))


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read and check a recipe of ours, or a configuration file of MindCV.

    Raises DocumentError or ConfigurationError whose message has the file, the key's path and what is allowed.
    """
    document = yaml_file.read(Path(path), dict[str, Any])
    if is_mindcv_recipe(document):
        document = translate(document, source=str(path))
    return convert(document, Recipe, source=str(path))
