"""The interface that every strategy implements, its error, and the checks that all strategies share."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from mnas.documents.errors import InputError

Decisions: TypeAlias = tuple[int, ...]
"""One proposal: one index per decision; entry d is in [0, decision_sizes[d])."""

StateValue: TypeAlias = "NDArray[Any] | bool | int | float | str"
"""One value of a controller's state; arrays hold numbers and have at least one dimension."""

MAX_REWARD_MAGNITUDE = 1e100
"""Rewards beyond it are refused: their squares would overflow inside a strategy."""


class ControllerError(InputError, ValueError):
    """A controller was created, told or restored with something that it does not accept."""


class Controller(Protocol):
    """Proposes decisions and learns from their rewards.

    A controller knows only how many choices each decision has. All its randomness comes from its seed: the
    same sequence of calls gives the same proposals.
    """

    def ask(self, count: int, /) -> list[Decisions]:
        """Return up to `count` new proposals.

        There are fewer, and finally none, when a small space is used up. A proposal is pending from here until
        its result is told; any number may be pending at a time.

        Raises:
            ControllerError: `count` is not an integer >= 0.
        """
        ...

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float], /) -> None:
        """Learn from the rewards of proposals; a higher reward is better.

        Results may come one by one or many at once, in any order, late, or never. Decisions that this controller
        has not proposed are accepted too (a warm start); a strategy with distinct proposals does not propose them
        later.

        Args:
            proposals: The decisions that were evaluated.
            rewards: One finite number per proposal, in the same order.

        Raises:
            ControllerError: The lengths differ, a proposal does not fit the decisions, or a reward is not a
                finite number. The controller is then unchanged.
        """
        ...

    def state(self) -> dict[str, StateValue]:
        """Return a copy of everything that later proposals and states depend on."""
        ...

    def restore(self, state: dict[str, StateValue], /) -> None:
        """Continue from `state` exactly, bit for bit, pending proposals included.

        Raises:
            ControllerError: The state belongs to another strategy, other decisions or other
                hyper-parameters, or is damaged. The controller is then unchanged.
        """
        ...


def check_decision_sizes(decision_sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes as a tuple of ints.

    Raises:
        ControllerError: There is no decision, or a size is not an integer >= 1.
    """
    sizes = tuple(decision_sizes)
    if not sizes:
        raise ControllerError("decision_sizes is empty; give the number of choices of at least one decision")
    for position, size in enumerate(sizes):
        if not _is_integer(size) or size < 1:
            raise ControllerError(
                f"decision_sizes[{position}] is {size!r}; the number of choices must be an integer >= 1"
            )
    return tuple(int(size) for size in sizes)


def check_seed(seed: int) -> int:
    """Return the seed as an int.

    Raises:
        ControllerError: It is not an integer >= 0.
    """
    if not _is_integer(seed) or seed < 0:
        raise ControllerError(f"seed is {seed!r}; it must be an integer >= 0")
    return int(seed)


def check_count(count: int) -> int:
    """Return the count that `ask` was called with as an int.

    Raises:
        ControllerError: It is not an integer >= 0.
    """
    if not _is_integer(count) or count < 0:
        raise ControllerError(f"ask was given the count {count!r}; it must be an integer >= 0")
    return int(count)


def check_results(
    decision_sizes: tuple[int, ...], proposals: Sequence[Decisions], rewards: Sequence[float]
) -> list[tuple[Decisions, float]]:
    """Return what `tell` was called with as pairs of plain Python numbers.

    Raises:
        ControllerError: The lengths differ, a proposal does not fit the decisions, or a reward is not a finite
            number of at most `MAX_REWARD_MAGNITUDE`.
    """
    if len(proposals) != len(rewards):
        raise ControllerError(
            f"tell was given {len(proposals)} proposals and {len(rewards)} rewards; give one reward for each proposal"
        )
    return [
        (_check_decisions(decision_sizes, decisions), _check_reward(decisions, reward))
        for decisions, reward in zip(proposals, rewards, strict=True)
    ]


def _check_decisions(decision_sizes: tuple[int, ...], decisions: Decisions) -> Decisions:
    if len(decisions) != len(decision_sizes):
        raise ControllerError(
            f"proposal {decisions!r} has {len(decisions)} indices; this controller has {len(decision_sizes)} decisions"
        )
    for position, (index, size) in enumerate(zip(decisions, decision_sizes, strict=True)):
        if not _is_integer(index) or not 0 <= index < size:
            raise ControllerError(
                f"proposal {decisions!r} has {index!r} at decision {position}; "
                f"it must be an integer from 0 to {size - 1}"
            )
    return tuple(int(index) for index in decisions)


def _check_reward(decisions: Decisions, reward: object) -> float:
    if not isinstance(reward, bool) and isinstance(reward, numbers.Real):
        with contextlib.suppress(OverflowError):  # An integer beyond all floats.
            value = float(reward)
            if abs(value) <= MAX_REWARD_MAGNITUDE:  # False for NaN.
                return value
    raise ControllerError(
        f"the reward of proposal {decisions!r} is {reward!r}; it must be a finite number from "
        f"{-MAX_REWARD_MAGNITUDE:g} to {MAX_REWARD_MAGNITUDE:g}. "
        "Do not tell a failed trial, or give it a finite reward of your choice"
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
