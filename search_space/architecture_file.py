"""Architectures as data: `architecture.yaml`, and the dict that is stored in JSON and databases.

A search passes an architecture file on to export and full training:

    name: best of run 12
    stem_filters: 32
    stem_stride: 2
    head_filters: 1280
    activation: relu
    blocks:
    - r1_k3_s11_e1_i32_o16_noskip
    - r2_k3_s22_e6_i16_o24
    space: mnasnet
    indices: [1, 0, ...]
    lineage: {run: 12, trial: 87, ...}

Everything except `blocks` may be left out; stem, head and activation are then those of MnasNet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mnas.documents import yaml_file
from mnas.documents.check import convert
from search_space.architecture import ActivationKind, Architecture
from search_space.block_string import format_block, parse_block
from search_space.errors import SpaceError


@dataclass(frozen=True)
class ArchitectureFile:
    """An architecture with its name and origin.

    Attributes:
        architecture: The network.
        name: Its name.
        space: The search space that it came from.
        indices: Its indices in that space.
        lineage: Anything else about its origin: text, numbers, lists and mappings with text as keys, stored as given.
    """

    architecture: Architecture
    name: str | None = None
    space: str | None = None
    indices: tuple[int, ...] | None = None
    lineage: Mapping[str, Any] = field(default_factory=dict)


class ArchitectureFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The schema of an architecture as plain data.

    Attributes:
        stem_filters: Output filters of the stem.
        stem_stride: Stride of the stem, 1 or 2.
        head_filters: Output filters of the head.
        activation: "relu" or "relu6".
        blocks: Block strings, see `search_space.block_string`.

    Raises:
        SpaceError: The blocks are not an architecture.
    """

    stem_filters: Annotated[int, Meta(ge=1, le=1_000_000)] = 32
    stem_stride: Literal[1, 2] = 2
    head_filters: Annotated[int, Meta(ge=1, le=1_000_000)] = 1280
    activation: ActivationKind = "relu"
    blocks: Annotated[tuple[str, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        self.architecture()

    def architecture(self) -> Architecture:
        """Return the architecture.

        Raises:
            SpaceError: The blocks are not an architecture.
        """
        blocks = []
        for number, text in enumerate(self.blocks):
            try:
                blocks.append(parse_block(text))
            except SpaceError as error:
                raise SpaceError(f"blocks[{number}]: {error}") from error
        return Architecture(
            tuple(blocks),
            stem_filters=self.stem_filters,
            stem_stride=self.stem_stride,
            head_filters=self.head_filters,
            activation=self.activation,
        )


class ArchitectureFileFields(ArchitectureFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The schema of an architecture file, also for documents that contain one (a checkpoint).

    Attributes:
        name: Name of the network.
        space: Name of the search space that it came from.
        indices: Its indices in that space.
        lineage: Anything else about its origin.
    """

    name: str | None = None
    space: str | None = None
    indices: tuple[Annotated[int, Meta(ge=0)], ...] | None = None
    lineage: dict[str, Any] = {}

    def file(self) -> ArchitectureFile:
        """Return the architecture with its name and origin."""
        return ArchitectureFile(
            self.architecture(), name=self.name, space=self.space, indices=self.indices, lineage=self.lineage
        )


def architecture_to_dict(architecture: Architecture) -> dict[str, Any]:
    """Return an architecture as plain data: numbers, text and a list of block strings.

    >>> architecture_to_dict(Architecture((parse_block("r1_k3_s11_e1_i32_o16"),)))["blocks"]
    ['r1_k3_s11_e1_i32_o16']
    """
    return {
        "stem_filters": architecture.stem_filters,
        "stem_stride": architecture.stem_stride,
        "head_filters": architecture.head_filters,
        "activation": architecture.activation,
        "blocks": [format_block(block) for block in architecture.blocks],
    }


def architecture_from_dict(data: object, *, source: str = "architecture") -> Architecture:
    """Return the architecture that `architecture_to_dict` made data of.

    Args:
        data: The plain data.
        source: Where it comes from, for error messages.

    Raises:
        DocumentError: The data does not fit; the message says where.
    """
    return convert(data, ArchitectureFields, source=source).architecture()


def read_architecture(path: str | Path) -> ArchitectureFile:
    """Read an architecture file.

    Raises:
        DocumentError: The file cannot be read or is not an architecture.
    """
    return yaml_file.read(path, ArchitectureFileFields).file()


def write_architecture(path: str | Path, file: ArchitectureFile) -> None:
    """Write an architecture file; `read_architecture` gives back an equal one.

    Raises:
        DocumentError: The lineage is not plain data.
        OSError: The file cannot be written.
    """
    Path(path).write_text(yaml_file.dump(architecture_file_to_dict(file)), encoding="utf-8")


def architecture_file_to_dict(file: ArchitectureFile) -> dict[str, Any]:
    """Return an architecture file as plain data, in the order of its keys; unknown values are left out."""
    document = {
        "name": file.name,
        **architecture_to_dict(file.architecture),
        "space": file.space,
        "indices": None if file.indices is None else list(file.indices),
        "lineage": dict(file.lineage) or None,
    }
    return {key: value for key, value in document.items() if value is not None}
