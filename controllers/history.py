"""The proposals that a controller must not make again."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.controller import Decisions, StateValue
from controllers.state import index_type, read_decisions


class History:
    """A set of proposals that can draw uniformly from those that are not in it.

    Proposals are numbered in lexicographic order, and the members' numbers are kept sorted. So the r-th non-member
    is one binary search, and drawing is as fast when few are left.

    Attributes:
        unseen_count: Number of proposals that are not members.
    """

    def __init__(self, decision_sizes: tuple[int, ...]) -> None:
        self._sizes = decision_sizes
        self._members: set[Decisions] = set()
        self._numbers: list[int] = []
        self._rows: NDArray[Any] = np.empty((64, len(decision_sizes)), dtype=index_type(decision_sizes))
        self.unseen_count = math.prod(decision_sizes)

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, decisions: Decisions) -> bool:
        return decisions in self._members

    def add(self, decisions: Decisions) -> bool:
        """Add a member; return whether it is new."""
        if decisions in self._members:
            return False
        self._members.add(decisions)
        count = len(self._numbers)
        if count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[count] = decisions
        bisect.insort(self._numbers, self._number(decisions))
        self.unseen_count -= 1
        return True

    def draw_unseen(self, generator: np.random.Generator) -> Decisions:
        """Return a random non-member, each with the same probability, without adding it.

        Raises:
            IndexError: `unseen_count` is 0.
        """
        if not self.unseen_count:
            raise IndexError("every proposal of the space is in the history")
        rank = _random_below(self.unseen_count, generator)
        # numbers[i] - i non-members come before member i, so the wanted one comes after every member for which
        # that is at most its rank.
        members_before = bisect.bisect_right(
            range(len(self._numbers)), rank, key=lambda position: self._numbers[position] - position
        )
        return self._decisions(rank + members_before)

    def rows(self) -> NDArray[Any]:
        """Return a copy of the members in the order of their addition, shape (members, decisions)."""
        return self._rows[: len(self._numbers)].copy()

    def _number(self, decisions: Decisions) -> int:
        number = 0
        for index, size in zip(decisions, self._sizes, strict=True):
            number = number * size + index
        return number

    def _decisions(self, number: int) -> Decisions:
        indices = []
        for size in reversed(self._sizes):
            number, index = divmod(number, size)
            indices.append(index)
        return tuple(reversed(indices))


def read_history(state: Mapping[str, StateValue], key: str, decision_sizes: tuple[int, ...]) -> History:
    """Return the history whose `rows` are stored under `key`.

    Raises:
        ControllerError: They are missing or damaged.
    """
    history = History(decision_sizes)
    for decisions in read_decisions(state, key, decision_sizes):
        history.add(decisions)
    return history


def _random_below(bound: int, generator: np.random.Generator) -> int:
    """Return a uniform integer in [0, bound), which may exceed 64 bits."""
    bits = (bound - 1).bit_length()
    byte_count = (bits + 7) // 8
    while True:  # Each try succeeds with probability above 1/2.
        value = int.from_bytes(generator.bytes(byte_count), "little") >> (8 * byte_count - bits)
        if value < bound:
            return value
