"""One network at several widths and image sizes: what the paper's figure 5 compares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnas.checkpoints.checkpoint import Accuracy, read_checkpoint
from mnas.data import ImageForm
from mnas.errors import ConfigurationError
from search_space import Architecture, Cost, LoweredNetwork, cost, fingerprint


@dataclass(frozen=True)
class ScaledNetwork:
    """A network at one width and one image size.

    Attributes:
        width: What all widths but the head's are multiplied by.
        architecture: The scaled architecture.
        form: The images that it takes.
    """

    width: float
    architecture: Architecture
    form: ImageForm

    def network(self) -> LoweredNetwork:
        """Return the layers of the network."""
        return self.form.lower(self.architecture)

    def cost(self) -> Cost:
        """Return the number of parameters and multiply-adds."""
        return cost(self.network())


def scaled_networks(
    architecture: Architecture, widths: Sequence[float], forms: Sequence[ImageForm]
) -> list[ScaledNetwork]:
    """Return a network at each width and, for each of these, with each form of the images.

    Raises:
        SpaceError: A width is not positive, or a number of a form is below 1.
    """
    return [ScaledNetwork(width, architecture.scaled(width), form) for width in widths for form in forms]


def trained_accuracies(networks: Sequence[ScaledNetwork], checkpoints: Iterable[Path]) -> list[Accuracy | None]:
    """Return the accuracy that a checkpoint has for each network, None for a network without a checkpoint.

    A checkpoint is that of a network if layers, image size, channels and number of classes are equal.

    Raises:
        CheckpointError: A file is no checkpoint of mnas.
        ConfigurationError: A checkpoint has no accuracy or is of none of the networks, or two are of the same one.
    """
    keys = [(fingerprint(network.architecture), network.form) for network in networks]
    found: dict[tuple[str, ImageForm], tuple[Path, Accuracy]] = {}
    for path in checkpoints:
        checkpoint = read_checkpoint(path)
        key = (fingerprint(checkpoint.architecture.architecture), ImageForm.of(checkpoint.input))
        if checkpoint.accuracy is None:
            raise ConfigurationError(f"{path}: has no accuracy; give a checkpoint of the folder best/ of a retraining")
        if key not in keys:
            form = key[1]
            raise ConfigurationError(
                f"{path}: is of none of these networks (it takes {form.image_size} pixels and {form.channels} "
                f"channels, and has {form.num_classes} classes); change widths, sizes, channels or classes, or leave "
                "it out"
            )
        if key in found:
            raise ConfigurationError(f"{path}: is of the same network as {found[key][0]}; give one of them")
        found[key] = (path, checkpoint.accuracy)
    return [found[key][1] if key in found else None for key in keys]
