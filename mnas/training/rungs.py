"""Rungs: the epochs of a training after which it is compared with others, and stopped if it is behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class Rung:
    """What a training must have reached after some epochs.

    Attributes:
        epoch: After so many epochs the accuracy on the reward set is measured.
        least_accuracy: The training goes on if its accuracy is at least this. None lets every training go on.
    """

    epoch: int
    least_accuracy: float | None


@dataclass(frozen=True)
class RungResult:
    """What a training has reached at a rung.

    Attributes:
        epoch: After how many epochs.
        accuracy: Top-1 on the reward set, 0 to 1.
        least_accuracy: That of the rung.
    """

    epoch: int
    accuracy: float
    least_accuracy: float | None = None

    @property
    def is_behind(self) -> bool:
        """Whether the training stops here."""
        return self.least_accuracy is not None and self.accuracy < self.least_accuracy


def rung_results(training: Mapping[str, Any]) -> tuple[RungResult, ...]:
    """Return what the `rungs` of the record of a training hold; none if it has no rungs.

    Raises:
        ValueError: They are something else.
    """
    try:
        found = msgspec.convert(training.get("rungs", ()), tuple[RungResult, ...])
    except msgspec.ValidationError as error:
        raise ValueError(f"`rungs` of a training: {error}") from error
    if not all(math.isfinite(result.accuracy) for result in found):
        raise ValueError("`rungs` of a training: an accuracy is not finite")
    return found
