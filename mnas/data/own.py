"""Images that a function of the user's own loads."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from mnas.data.image_form import InputForm, Interpolation
from mnas.data.own_sources import check_own_sources, users_code
from mnas.data.settings import ImageSize, Normalization, normalization_of
from mnas.data.source import FullData, ImageSource, SearchData
from mnas.documents.own_parts import is_own_part, load_own_part
from mnas.errors import ConfigurationError, DataError

Data = TypeVar("Data", SearchData, FullData)


class OwnDataSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="format", tag="own"
):
    """Images that a function of the user's own loads.

    The function is called as `function(**options)` and returns what the command needs: `SearchData(train, reward)` for
    an experiment, `FullData(train, test)` for a recipe of full training and for `mnas validate --data`; a third part of
    `FullData` is what to validate on instead of the test set. All parts are `ImageSource`s, for example `ImageArrays`.
    The function decides which images are held out and how the training images are augmented.

    What it returns is checked: the kind, the size and channels, that there is at least one image, the form of the first
    batch and its labels, and that both parts have the same classes.

    The module is looked for among the installed packages, on PYTHONPATH and in the working directory. Workers import it
    too if a source is a class of it; on the other hosts of a cluster it must be installed.

    Attributes:
        source: The function, as `package.module:function`. It is code that runs on this machine.
        options: Keyword arguments of the function.
        image_size: Height and width of the images that it returns, in pixels.
        normalize: Mean and standard deviation by which it normalizes each channel, of pixel values scaled to 0..1.
            Exports and checkpoints keep them, so that other images are prepared alike. Needed only if the sources do
            not tell: `ImageArrays`, and any source with an attribute `preprocessing` (`mnas.data.Preprocessing`), do.
        evaluation_crop: Side of the centred square of a picture that its evaluation images show, as a fraction of the
            shorter side; kept like `normalize`.
        interpolation: Filter by which it resizes pictures; kept like `normalize`.
    """

    source: str
    options: dict[str, Any] = {}
    image_size: ImageSize
    normalize: Normalization | None = None
    evaluation_crop: Annotated[float, Meta(ge=0.1, le=1)] = 1.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        """Raise ValueError if `source` is not the name of a function."""
        if not is_own_part(self.source):
            raise ValueError(f"`source` must have the form package.module:function, found {self.source!r}")

    @property
    def channels(self) -> int | None:
        """Number of channels that `normalize` has values for; None if only the function knows."""
        return None if self.normalize is None else len(self.normalize.mean)

    def load_search(self) -> SearchData:
        """Load the images of a search with the function; see `DataFormat`."""
        data = self._load(SearchData, "a search needs SearchData(train, reward)")
        self._check(train=data.train, reward=data.reward)
        return data

    def load_full(self) -> FullData:
        """Load all training images and the test set with the function; see `DataFormat`."""
        data = self._load(FullData, "full training and validation need FullData(train, test)")
        held_out = {} if data.validation is None else {"validation": data.validation}
        self._check(train=data.train, test=data.test, **held_out)
        return data

    def load_test(self, class_names: tuple[str, ...] | None = None) -> ImageSource:
        """Load the test set with the function; see `DataFormat`."""
        return self.load_full().test

    def input_form(self, source: ImageSource) -> InputForm:
        """Return how the function prepares images for evaluation; see `DataFormat`."""
        normalize = normalization_of(source) or self.normalize
        if normalize is None:
            raise DataError(
                f"{self.source}: does not tell how it normalizes images, which exports keep; write `data.normalize` "
                "(mean and std for each channel), or give the sources an attribute `preprocessing`"
            )
        if len(normalize.mean) != source.channels:
            raise DataError(
                f"{self.source}: its images have {source.channels} channels, but `data.normalize` (or the network to "
                f"validate) has values for {len(normalize.mean)}; make them equal"
            )
        if self.normalize not in (None, normalize):
            raise DataError(
                f"{self.source}: normalizes by {_numbers(normalize)}, but `data.normalize` (or the network to "
                f"validate) has {_numbers(self.normalize)}; make them equal"
            )
        return InputForm(
            image_size=source.image_size,
            channels=source.channels,
            num_classes=source.num_classes,
            mean=normalize.mean,
            std=normalize.std,
            evaluation_crop=self.evaluation_crop,
            interpolation=self.interpolation,
            class_names=source.class_names,
        )

    def located(self, directory: str) -> "OwnDataSettings":
        """Raise ConfigurationError: only the function knows where its images are."""
        raise ConfigurationError(
            f"the recipe's images come from {self.source}, not from a directory: leave --data out, or change "
            "`data.options` in the recipe"
        )

    @classmethod
    def find_test_set(cls, data: str, form: InputForm, test_folder: str | None) -> "OwnDataSettings | None":
        """Return settings for the name of a function, `package.module:function`; see `DataFormat`."""
        if not is_own_part(data):
            return None
        return cls(
            source=data,
            image_size=form.image_size,
            normalize=Normalization(mean=form.mean, std=form.std),
            evaluation_crop=form.evaluation_crop,
            interpolation=form.interpolation,
        )

    def _load(self, kind: type[Data], needed: str) -> Data:
        function = load_own_part(self.source)
        if not callable(function):
            raise DataError(f"{self.source}: is no function; name one that returns the images")
        with users_code(self.source):
            data = function(**self.options)
        if not isinstance(data, kind):
            raise DataError(f"{self.source}: returned {type(data).__name__}, but {needed} of mnas.data; return that")
        return data

    def _check(self, **parts: ImageSource) -> None:
        check_own_sources(self.source, parts)
        for name, part in parts.items():
            if part.image_size != self.image_size:
                raise DataError(
                    f"{self.source}: {name} has images of {part.image_size} pixels, but `data.image_size` (or the "
                    f"network to validate) has {self.image_size}; make them equal"
                )
            self.input_form(part)


def _numbers(normalize: Normalization) -> str:
    return f"mean {list(normalize.mean)} and std {list(normalize.std)}"
