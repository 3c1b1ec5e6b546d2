"""Search spaces: decisions that a controller makes as integers, and the architectures they stand for.

The factorized hierarchical search space of MnasNet (arXiv 1807.11626, section 4.1): a fixed stem and head around blocks
whose layers are alike, each block with its own decisions. A space is a YAML file; those that come with the package are
in `spaces/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from operator import index as as_integer
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from mnas.documents import yaml_file
from mnas.documents.names import is_path, unknown_name
from search_space.architecture import ActivationKind, Architecture, Block
from search_space.block_choices import BlockChoices, Choice, Positive
from search_space.encoding import encode_blocks
from search_space.errors import SpaceError


@dataclass(frozen=True)
class Decision:
    """One integer that the search chooses: `name` is such as "blocks[2].kernel", an index picks one of `choices`."""

    name: str
    choices: tuple[Choice, ...]


class SearchSpace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A search space: the schema of its YAML file and the mapping from indices to architectures.

    An index tuple has one entry for each of `decisions`, block after block. `image_size` is the input size, in pixels,
    that the space is meant for.

    >>> space = SearchSpace.load("mnasnet")
    >>> len(space.decisions), space.decisions[0]
    (42, Decision(name='blocks[0].op', choices=('conv', 'dconv', 'mbconv3', 'mbconv6')))
    >>> space.cardinality == 432**5 * 288**2
    True
    >>> architecture = space.decode([0] * 42)
    >>> space.encode(architecture) == (0,) * 42
    True
    """

    name: str
    image_size: Positive
    stem_filters: Positive
    stem_stride: Literal[1, 2]
    head_filters: Positive
    blocks: Annotated[tuple[BlockChoices, ...], Meta(min_length=1)]
    activation: ActivationKind = "relu"
    description: str = ""

    def __post_init__(self) -> None:
        if not any(choices.decisions() for choices in self.blocks):
            raise ValueError("blocks leave nothing to decide; give at least one decision two choices")

    @classmethod
    def load(cls, name_or_path: str | Path) -> SearchSpace:
        """Return a space of this package by its name, or read a YAML file.

        Raises SpaceError for an unknown name and DocumentError for a file that is no valid space.
        """
        if is_path(name_or_path):
            return yaml_file.read(name_or_path, cls)
        name = str(name_or_path)
        if name not in cls.names():
            raise SpaceError(unknown_name("search space", name, cls.names()))
        text = (files("search_space") / "spaces" / f"{name}.yaml").read_text(encoding="utf-8")
        return yaml_file.parse(text, cls, source=f"{name}.yaml")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the spaces that come with the package."""
        entries = (entry.name for entry in (files("search_space") / "spaces").iterdir())
        return tuple(sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml")))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision with more than one choice, in the order of the indices."""
        return tuple(
            Decision(f"blocks[{number}].{name}", choices.choices(name))
            for number, choices in enumerate(self.blocks)
            for name in choices.decisions()
        )

    @property
    def decision_sizes(self) -> tuple[int, ...]:
        """The number of choices of each decision; this is all that a controller needs to know."""
        return tuple(len(decision.choices) for decision in self.decisions)

    @property
    def cardinality(self) -> int:
        """The number of index tuples; a few more than networks, as some tuples decode to the same one."""
        return prod(self.decision_sizes)

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw an index tuple, each with the same probability."""
        return tuple(int(index) for index in rng.integers(self.decision_sizes))

    def decode(self, indices: Sequence[int]) -> Architecture:
        """Return the architecture that `indices` stand for.

        Raises SpaceError where their number or a value does not fit the decisions.
        """
        remaining = list(self._checked(indices))
        in_filters = self.stem_filters
        blocks: list[Block] = []
        for choices in self.blocks:
            count = len(choices.decisions())
            blocks.append(choices.block(remaining[:count], in_filters))
            del remaining[:count]
            in_filters = blocks[-1].out_filters
        return Architecture(
            tuple(blocks),
            stem_filters=self.stem_filters,
            stem_stride=self.stem_stride,
            head_filters=self.head_filters,
            activation=self.activation,
        )

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """Return the lowest indices that decode to the same network (equal `fingerprint`).

        Raises SpaceError that says which part of the architecture is outside the space.
        """
        for field in ("stem_filters", "stem_stride", "head_filters", "activation"):
            found, fixed = getattr(architecture, field), getattr(self, field)
            if found != fixed:
                raise SpaceError(f"{field} {found} is outside the space {self.name!r}; it is {fixed} there")
        return encode_blocks(self.blocks, architecture)

    def _checked(self, indices: Sequence[int]) -> tuple[int, ...]:
        decisions = self.decisions
        if len(indices) != len(decisions):
            raise SpaceError(f"{len(indices)} indices given; the space {self.name!r} has {len(decisions)} decisions")
        checked = tuple(as_integer(index) for index in indices)
        for position, (index, decision) in enumerate(zip(checked, decisions, strict=True)):
            if not 0 <= index < len(decision.choices):
                highest = len(decision.choices) - 1
                raise SpaceError(f"index {position} ({decision.name}) is {index}; it must be from 0 to {highest}")
        return checked
