"""Networks from elsewhere that a report shows next to those of a search, as `mnas scale --json` has measured them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mnas.documents import yaml_file
from mnas.errors import ConfigurationError
from mnas.search.run import Run


class ReferenceNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network at one width and one image size.

    Attributes:
        width: What all widths but the head's are multiplied by.
        image_size: Height and width of its input, in pixels.
        latency_ms: Its latency; None if it was not timed.
        top1: Its accuracy as a share; None if it was not trained.
        images: Number of images that the accuracy is of.
        on: Which images these are.
    """

    width: float
    image_size: int
    latency_ms: Annotated[float, Meta(gt=0)] | None = None
    top1: Annotated[float, Meta(ge=0, le=1)] | None = None
    images: int | None = None
    on: str | None = None


class ReferenceFile(msgspec.Struct, frozen=True, kw_only=True):
    """What `mnas scale NETWORK --json` prints; other keys of it are not needed here.

    Attributes:
        network: Name of the network.
        num_classes: Number of its classes.
        phone: What timed it; None if nothing did.
        networks: The network at each width and image size.
    """

    network: str
    num_classes: int
    phone: str | None = None
    networks: tuple[ReferenceNetwork, ...]


def read_references(paths: Iterable[Path], runs: Sequence[Run] | None = None) -> list[dict[str, Any]]:
    """Return the networks of files that have both a latency and an accuracy.

    A page shows each with the runs that have its phone and its number of classes.

    Args:
        paths: Files that `mnas scale --json` has printed.
        runs: The runs of the page. None if they are not known yet.

    Raises:
        DocumentError: A file cannot be read, or is none of `mnas scale`.
        ConfigurationError: A file has no network to show, or no run has its phone and its number of classes.
    """
    return [network for path in paths for network in _networks(path, runs)]


def _networks(path: Path, runs: Sequence[Run] | None) -> list[dict[str, Any]]:
    file = yaml_file.read(path, ReferenceFile)
    measured = [one for one in file.networks if one.latency_ms is not None and one.top1 is not None]
    if not measured:
        raise ConfigurationError(
            f"{path}: no network in it has both a latency and an accuracy; run `mnas scale` with --phone and --trained"
        )
    if runs is not None and not any(
        (run.experiment.latency.phone, run.images.num_classes) == (file.phone, file.num_classes) for run in runs
    ):
        raise ConfigurationError(
            f"{path}: was timed on {file.phone} with {file.num_classes} classes, and no run of this report has the "
            "same phone and number of classes; run `mnas scale` with --phone and --classes of the run"
        )
    return [
        {
            "network": file.network if one.width == 1 else f"{file.network} x{one.width:g}",
            "phone": file.phone,
            "num_classes": file.num_classes,
            "image_size": one.image_size,
            "latency_ms": one.latency_ms,
            "accuracy": one.top1,
            "images": one.images,
            "on": one.on,
        }
        for one in measured
    ]
