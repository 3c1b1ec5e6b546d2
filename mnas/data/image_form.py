"""What images a network takes: their form, and how evaluation prepares them."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from search_space.architecture import Architecture
from search_space.lowering import LoweredNetwork, lower

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]


class HasImageForm(Protocol):
    """Anything with the three numbers of an `ImageForm`: a source of images, an `InputForm`, a lowered network."""

    @property
    def image_size(self) -> int:
        """Height and width, in pixels."""
        ...

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        ...


@dataclass(frozen=True)
class ImageForm:
    """The form of labelled images: what an architecture needs to become a network.

    Attributes:
        image_size: Height and width, in pixels.
        channels: 1 for grey, 3 for RGB.
        num_classes: Number of classes.
    """

    image_size: int
    channels: int
    num_classes: int

    @classmethod
    def of(cls, images: HasImageForm) -> "ImageForm":
        """Return the form of a source of images, of an `InputForm` or of a lowered network."""
        return cls(images.image_size, images.channels, images.num_classes)

    def lower(self, architecture: Architecture) -> LoweredNetwork:
        """Return the network of an architecture for images of this form.

        Raises:
            SpaceError: One of the numbers is below 1.
        """
        return lower(architecture, image_size=self.image_size, channels=self.channels, num_classes=self.num_classes)

    def to_dict(self) -> dict[str, int]:
        """Return the three numbers by name, as a run and an architecture file keep them."""
        return asdict(self)


class InputForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images that a network was trained on, and how evaluation prepares them.

    Attributes:
        image_size: Height and width, in pixels.
        channels: 1 for grey, 3 for RGB.
        mean: Mean of each channel, of pixel values scaled to 0..1.
        std: Standard deviation of each channel, of pixel values scaled to 0..1.
        evaluation_crop: Side of the centred square that is resized to the input, as a fraction of the shorter side.
        interpolation: Filter of that resizing.
        num_classes: Number of classes.
        class_names: Name of each class; the position is the label. None if the names are not known.
    """

    image_size: Annotated[int, Meta(ge=1, le=65_536)]
    channels: Annotated[int, Meta(ge=1, le=65_536)]
    num_classes: Annotated[int, Meta(ge=1, le=100_000_000)]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    evaluation_crop: Annotated[float, Meta(gt=0, le=1)]
    interpolation: Interpolation = "bilinear"
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the class names are more or fewer than the classes."""
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ValueError(f"there are {self.num_classes} classes and {len(self.class_names)} `class_names`")
