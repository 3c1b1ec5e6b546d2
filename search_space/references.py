"""Reference networks and their published numbers.

Other widths of a network are `reference(name).architecture.scaled(width)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from mnas.documents import yaml_file
from mnas.documents.names import is_path, unknown_name
from mnas.documents.user_paths import user_path
from search_space.architecture import Architecture
from search_space.architecture_file import ArchitectureFields, ArchitectureFile, read_architecture
from search_space.errors import SpaceError

Percent = Annotated[float, Meta(ge=0, le=100)]


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Published numbers of a network at one width.

    Attributes:
        width: Factor of all widths except the head's.
        top1_percent: Accuracy on ImageNet at 224 pixels.
        top5_percent: The same, among the five likeliest classes.
        pixel1_latency_ms: Latency on one core of a Pixel 1.
    """

    width: Annotated[float, Meta(gt=0, le=100)]
    top1_percent: Percent
    top5_percent: Percent | None = None
    pixel1_latency_ms: Annotated[float, Meta(gt=0)] | None = None


@dataclass(frozen=True)
class Reference:
    """A network from the literature at width 1, and its published numbers in ascending order of width."""

    name: str
    description: str
    architecture: Architecture
    published: tuple[Published, ...]


class _Entry(ArchitectureFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    description: str
    published: tuple[Published, ...]


def reference_names() -> tuple[str, ...]:
    """Return the names of the reference networks."""
    return tuple(_entries())


def reference(name: str) -> Reference:
    """Return a reference network by its name, such as "mnasnet-a1".

    >>> reference("mnasnet-b1").architecture.scaled(0.75).stem_filters
    24

    Raises:
        SpaceError: There is no network of this name.
    """
    entries = _entries()
    if name not in entries:
        raise SpaceError(unknown_name("reference network", name, entries))
    entry = entries[name]
    return Reference(name, entry.description, entry.architecture(), entry.published)


def find_architecture(name_or_path: str | Path) -> Architecture:
    """Return a reference network by its name, or the architecture of an architecture file by its path.

    Raises:
        SpaceError: There is no network of this name.
        DocumentError: The file is not an architecture.
    """
    return find_architecture_file(name_or_path).architecture


def find_architecture_file(name_or_path: str | Path) -> ArchitectureFile:
    """Return what `find_architecture` returns, with its name and what else a file has.

    Raises:
        SpaceError: There is no network of this name.
        DocumentError: The file is not an architecture.
    """
    if is_path(name_or_path):
        return read_architecture(user_path(name_or_path))
    return ArchitectureFile(reference(str(name_or_path)).architecture, name=str(name_or_path))


def _entries() -> dict[str, _Entry]:
    text = (files("search_space") / "references.yaml").read_text(encoding="utf-8")
    return yaml_file.parse(text, dict[str, _Entry], source="references.yaml")
