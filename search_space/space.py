"""Search spaces: decisions that a controller makes as integers, and the architectures that they stand for.

This is the factorized hierarchical search space of MnasNet (arXiv 1807.11626, section 4.1): a fixed stem and head
around blocks of equal layers, each block with its own decisions. A space is a YAML file; those of this package are in
`spaces/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from math import prod
from operator import index as as_integer
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from mnas.documents import yaml_file
from mnas.documents.html_table import html_table
from mnas.documents.names import is_path, unknown_name
from mnas.documents.user_paths import user_path
from search_space.architecture import ActivationKind, Architecture, Block
from search_space.block_choices import DECISION_NAMES, BlockChoices, Choice, DecisionName, PositiveInt
from search_space.encoding import encode_blocks
from search_space.errors import SpaceError


@dataclass(frozen=True)
class Decision:
    """One integer that the search chooses.

    Attributes:
        name: Its place in the space, such as "blocks[2].kernel"; "blocks.kernel" if the blocks share it.
        choices: What the integer, an index from 0, selects from. Of a shared decision, those of the first block that
            has more than one.
    """

    name: str
    choices: tuple[Choice, ...]


class SearchSpace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A search space: the schema of its YAML file, and the mapping from indices to architectures.

    An index tuple has one entry for each of `decisions`: the shared ones first, then block after block.

    >>> space = SearchSpace.load("mnasnet")
    >>> len(space.decisions), space.decisions[0]
    (42, Decision(name='blocks[0].op', choices=('conv', 'dconv', 'mbconv3', 'mbconv6')))
    >>> space.cardinality == 432**5 * 288**2
    True
    >>> architecture = space.decode([0] * 42)
    >>> space.encode(architecture) == (0,) * 42
    True

    Attributes:
        name: Name of the space.
        image_size: Edge in pixels of the images that the space is meant for.
        stem_filters: Output filters of the stem.
        stem_stride: Stride of the stem, 1 or 2.
        head_filters: Output filters of the head.
        blocks: The choices of each block.
        activation: The activation of all architectures, "relu" or "relu6".
        description: What the space is for.
        shared: Decisions that all blocks make together, such as [op, kernel]: one index selects the choice at the same
            place of every block's list. A block that has one choice only keeps it.
    """

    name: str
    image_size: PositiveInt
    stem_filters: PositiveInt
    stem_stride: Literal[1, 2]
    head_filters: PositiveInt
    blocks: Annotated[tuple[BlockChoices, ...], Meta(min_length=1)]
    activation: ActivationKind = "relu"
    description: str = ""
    shared: tuple[DecisionName, ...] = ()

    def __post_init__(self) -> None:
        if not any(choices.decisions() for choices in self.blocks):
            raise ValueError("blocks have no decision; give at least one of them two choices")
        for position, name in enumerate(self.shared):
            if name in self.shared[:position]:
                raise ValueError(f"shared lists {name} twice; give every decision once")
            counts = sorted({len(choices.choices(name)) for choices in self.blocks} - {1})
            if not counts:
                raise ValueError(f"shared lists {name}, of which no block has two choices; leave it out")
            if len(counts) > 1:
                raise ValueError(
                    f"shared lists {name}, of which blocks have {counts[0]} and {counts[1]} choices; give each block "
                    "the same number, or one"
                )

    @classmethod
    def load(cls, name_or_path: str | Path) -> SearchSpace:
        """Return a space of this package by its name, or read a YAML file.

        Raises:
            SpaceError: There is no space of this name.
            DocumentError: The file is not a valid space.
        """
        if is_path(name_or_path):
            return yaml_file.read(user_path(name_or_path), cls)
        name = str(name_or_path)
        if name not in cls.names():
            raise SpaceError(unknown_name("search space", name, cls.names()))
        text = (files("search_space") / "spaces" / f"{name}.yaml").read_text(encoding="utf-8")
        return yaml_file.parse(text, cls, source=f"{name}.yaml")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the spaces of this package."""
        entries = (entry.name for entry in (files("search_space") / "spaces").iterdir())
        return tuple(sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml")))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, in the order of the indices; each has more than one choice."""
        shared = (
            Decision(
                f"blocks.{name}", next(choices.choices(name) for choices in self.blocks if name in choices.decisions())
            )
            for name in self.shared
        )
        own = (
            Decision(f"blocks[{number}].{name}", choices.choices(name))
            for number, choices in enumerate(self.blocks)
            for name in choices.decisions()
            if name not in self.shared
        )
        return (*shared, *own)

    @property
    def decision_sizes(self) -> tuple[int, ...]:
        """The number of choices of each decision: all that a controller needs to know."""
        return tuple(len(decision.choices) for decision in self.decisions)

    @property
    def cardinality(self) -> int:
        """The number of index tuples, a few more than networks: some decode to the same network."""
        return prod(self.decision_sizes)

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Return a random index tuple, each with the same probability."""
        return tuple(int(index) for index in rng.integers(self.decision_sizes))

    def decode(self, indices: Sequence[int]) -> Architecture:
        """Return the architecture that `indices` stand for.

        Raises:
            SpaceError: Their number or a value does not fit the decisions.
        """
        remaining = iter(self._checked(indices))
        shared = {name: next(remaining) for name in self.shared}
        in_filters = self.stem_filters
        blocks: list[Block] = []
        for choices in self.blocks:
            own = {name: next(remaining) for name in choices.decisions() if name not in shared}
            blocks.append(choices.block(shared | own, in_filters))
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

        Raises:
            SpaceError: The architecture is outside the space; the message says which part.
        """
        for field in ("stem_filters", "stem_stride", "head_filters", "activation"):
            found, fixed = getattr(architecture, field), getattr(self, field)
            if found != fixed:
                raise SpaceError(f"{field} {found} is outside the space {self.name!r}; it is {fixed} there")
        return encode_blocks(self.blocks, self.shared, architecture)

    def _repr_html_(self) -> str:
        """Return a table of every block's choices, which notebooks show."""
        return html_table(
            ["block", *DECISION_NAMES, "stride"],
            [
                [number, *(_listed(block, name) for name in DECISION_NAMES), block.stride]
                for number, block in enumerate(self.blocks)
            ],
            caption=f"{self.name}: {len(self.decisions)} decisions, {Decimal(self.cardinality):.3g} combinations",
        )

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


def _listed(block: BlockChoices, decision: str) -> str:
    if decision == "expand" and block.expand is None:  # Each choice of `op` has its own expansion.
        return ""
    return ", ".join(str(choice) for choice in block.choices(decision))
