"""The rank correlation of two lists of numbers; in plain Python, because commands that load no NumPy print it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's rank correlation of two lists of equal length: tau-b, which allows for ties.

    Returns:
        From -1 to 1; None if there are fewer than two numbers, or one of the lists has equal ones only.
    """
    together = list(zip(first, second, strict=True))
    pairs = [(_order(a, b), _order(c, d)) for (a, c), (b, d) in combinations(together, 2)]
    untied = math.prod(sum(abs(pair[side]) for pair in pairs) for side in (0, 1))
    return sum(one * other for one, other in pairs) / math.sqrt(untied) if untied else None


def _order(one: float, other: float) -> int:
    return (one > other) - (one < other)
