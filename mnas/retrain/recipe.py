"""A recipe: the YAML file of a full training, checked once and immutable from then on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from msgspec.structs import fields

from mnas.bundled_files import find_recipe
from mnas.data import DataSettings, FullData
from mnas.data.own import OwnDataSettings
from mnas.documents import yaml_file
from mnas.documents.check import convert
from mnas.errors import ConfigurationError, DataError
from mnas.mindspore_setup import AscendSettings, Compute, Device
from mnas.retrain.mindcv_recipe import is_mindcv_recipe, translate
from mnas.training.settings import TrainingSettings

Count = Annotated[int, Meta(ge=1, le=10**9)]


class ValidationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the training images that is held out, so that the test set chooses nothing.

    It is not trained on. Each class gives its share, to within one image, as for the reward set of a search.

    Attributes:
        share: The part of the training images, above 0 and below 1. Give this or `images`.
        images: The number of images. Give this or `share`.
        split_seed: Chooses the images.
    """

    share: Annotated[float, Meta(gt=0, lt=1)] | None = None
    images: Count | None = None
    split_seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0

    def __post_init__(self) -> None:
        """Raise ValueError unless one of `share` and `images` is given."""
        if (self.share is None) == (self.images is None):
            raise ValueError("give `share` or `images`, one of the two")

    def count(self, training_images: int) -> int:
        """Return the number of images to hold out, of so many training images.

        Raises:
            DataError: None would remain to train on.
        """
        count = self.images if self.share is None else max(1, round(self.share * training_images))
        assert count is not None, "one of the two is given"
        if count >= training_images:
            key = "share" if self.images is None else "images"
            raise DataError(
                f"`validation.{key}` holds out {count:,} of {training_images:,} training images and leaves none to "
                "train on; lower it"
            )
        return count


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a network is fully trained, and on what.

    Attributes:
        training: Optimizer, schedule and regularisation.
        data: The images. All training images but those of `validation` are trained on. The keys of a search
            (`reward_images`, `train_images`, `split_seed`) are refused.
        validation: Training images that are held out to validate on and to choose `best/` by; the test set is then
            looked at once, at the end. Absent: the test set validates, and chooses `best/`, so that the accuracy of a
            chosen epoch is too good.
        architecture: The network if the command names none: a reference or the path of an architecture file.
        width: Factor of every width of `architecture` except the head's, as in `mnas arch describe`.
        num_classes: If given, the data must have this number of classes.
        micro_batch_size: Images that go through a device at a time, and that a batch norm sees. A larger batch is
            divided among the devices, and its gradients are accumulated. Absent: the batch divided by the number of
            devices.
        validate_every_epochs: Epochs between two validations; the last epoch is always validated.
        checkpoint_every_steps: Steps between two checkpoints within an epoch; absent: one at the end of each epoch.
            A training that is stopped loses the steps after its last checkpoint.
        keep_best: Number of checkpoints with the best top-1 that are kept in addition to the last.
        log_every_steps: Steps that one line of `steps.csv` sums up.
        sink_steps: Steps that an Ascend device takes before their loss is read, with their data sent ahead (MindSpore's
            data sinking). It must divide the steps between checkpoints. Absent: no sinking.
        threads: CPU threads of each process; absent: MindSpore's default. With 1, `mnas.kernels` train if the machine
            can run them. A resume with another number goes on from the same state, but its steps differ by rounding.
        device: What the network is trained on.
        ascend: How MindSpore computes on an NPU.
        seed: Decides the initial weights, the order of the images, their augmentation and the dropout.
    """

    training: TrainingSettings
    data: DataSettings
    validation: ValidationSettings | None = None
    architecture: str | None = None
    width: Annotated[float, Meta(gt=0, le=100)] = 1.0
    num_classes: Annotated[int, Meta(ge=2)] | None = None
    micro_batch_size: Annotated[int, Meta(ge=2)] | None = None
    validate_every_epochs: Count = 1
    checkpoint_every_steps: Count | None = None
    keep_best: Annotated[int, Meta(ge=0)] = 3
    log_every_steps: Count = 50
    sink_steps: Count | None = None
    threads: Count | None = None
    device: Device = "CPU"
    ascend: AscendSettings = AscendSettings()
    seed: Annotated[int, Meta(ge=0, lt=2**31)] = 0

    def __post_init__(self) -> None:
        """Raise ValueError for data sinking where MindSpore has none, or takes another number of steps."""
        if self.sink_steps is not None and self.device != "Ascend":
            raise ValueError("`sink_steps` is for `device: Ascend`; MindSpore sinks no data on a CPU")
        if self.sink_steps is not None and self.ascend.jit_level != "O0":
            raise ValueError(
                f"`sink_steps` is for `jit_level: O0`; at {self.ascend.jit_level} MindSpore takes one step for each "
                "call, whatever is asked for. Leave one of them out"
            )

    @property
    def compute(self) -> Compute:
        """The device and threads of each process."""
        return Compute(self.device, self.threads, ascend=self.ascend)

    def load_data(self) -> FullData:
        """Load the images: those to train on, those of `validation` and the test set.

        Raises:
            DataError: Data is missing, damaged, of the wrong form, or `validation` leaves none to train on.
            ConfigurationError: `validation` is for data that a function of the user's own loads.
        """
        if self.validation is None:
            return self.data.load_full()
        if isinstance(self.data, OwnDataSettings):
            raise ConfigurationError(
                "`validation`: with `format: own` the function chooses the images; leave the key out, and return "
                "FullData(train, test, validation)"
            )
        count = self.validation.count(self.data.count_training_images())
        return self.data.load_validated(count, self.validation.split_seed)

    def check_keys(self, source: str) -> None:
        """Raise ConfigurationError if a key is given that full training would not obey.

        The value that a format has by default is allowed: earlier releases wrote every default into a recipe.

        Args:
            source: Names the recipe in messages.
        """
        given = {field.name: getattr(self.data, field.name) for field in fields(self.data)}
        defaults = {field.name: field.default for field in fields(self.data)}
        for key in SEARCH_KEYS & given.keys():
            if given[key] != defaults[key]:
                raise ConfigurationError(
                    f"{source}: `data.{key}` is for a search; full training uses every training image, so leave it out "
                    "(to train on fewer, give a folder with fewer; to hold some out, write `validation`)"
                )
        if given.get("crop_padding") is not None and given["augment"] != "crop_flip":
            raise ConfigurationError(
                f"{source}: `data.crop_padding` belongs to `augment: crop_flip`; use that, or leave it out"
            )
        if self.width != 1 and self.architecture is None:
            raise ConfigurationError(
                f"{source}: `width` is that of `architecture`, which is missing; add it, or give --width to the command"
            )

    def with_data_directory(self, directory: str) -> Recipe:
        """Return the recipe with another data directory.

        Raises:
            ConfigurationError: Its data is in no directory.
        """
        return msgspec.structs.replace(self, data=self.data.located(directory))


# Keys of the data that only a search obeys.
SEARCH_KEYS = frozenset(("reward_images", "train_images", "split_seed"))
# Keys that may change when a training is resumed: they change neither what is trained nor on what. Releases before 0.2
# accepted the keys of a search, without effect.
RESUMABLE_RECIPE_KEYS = frozenset(
    ("data.directory", "keep_best", "log_every_steps", "threads", "ascend.memory_gb")
) | frozenset(f"data.{key}" for key in SEARCH_KEYS)


def open_recipe(recipe: Recipe | str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> Recipe:
    """Return a recipe as users give it: as it is, by the name of a bundled one, or by the path of a file.

    Args:
        recipe: The recipe.
        data: Another folder of its images; None leaves the recipe's own.

    Raises:
        ConfigurationError: There is no such recipe, or its images are in no folder; and as `load_recipe`.
        DocumentError: As `load_recipe`.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(find_recipe(recipe if isinstance(recipe, str) else Path(recipe)))
    return recipe if data is None else recipe.with_data_directory(os.fspath(data))


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read and check a recipe of mnas, or a configuration file of MindCV.

    Raises:
        DocumentError: A key is missing, unknown or has a wrong value; the message has the file, the key's path and what
            is allowed.
        ConfigurationError: A value of MindCV that mnas does not support, or a key that full training does not obey.
    """
    document = yaml_file.read(Path(path), dict[str, Any])
    if is_mindcv_recipe(document):
        document = translate(document, source=str(path))
    recipe = convert(document, Recipe, source=str(path))
    recipe.check_keys(str(path))
    return recipe
