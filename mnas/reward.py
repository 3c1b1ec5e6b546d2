"""The search's objective: ACC x (LAT / T)^w, w = alpha if LAT <= T, else beta (MnasNet, section 3, equation 2)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec

_WEIGHTS = {"soft": (-0.07, -0.07), "hard": (0.0, -1.0)}


class RewardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The exponents of the reward.

    Attributes:
        form: `soft` (alpha = beta = -0.07: twice the latency is worth about 5% relative accuracy) or `hard` (alpha = 0,
            beta = -1).
        alpha: The exponent up to the target latency, in place of the form's own.
        beta: The exponent above the target latency, in place of the form's own.
    """

    form: Literal["soft", "hard"] = "soft"
    alpha: Annotated[float, msgspec.Meta(ge=-10, le=0)] | None = None
    beta: Annotated[float, msgspec.Meta(ge=-10, le=0)] | None = None

    @property
    def exponents(self) -> tuple[float, float]:
        """The exponents (alpha, beta) in force."""
        alpha, beta = _WEIGHTS[self.form]
        return (alpha if self.alpha is None else self.alpha, beta if self.beta is None else self.beta)


def reward(accuracy: float, latency_ms: float, target_ms: float, settings: RewardSettings) -> float:
    """Return the reward of a network with this accuracy (0..1) and latency for the target latency T.

    Raises:
        ValueError: A number is not finite, or a latency is not positive. No measurement is ever made up.

    >>> reward(0.75, 75.0, 75.0, RewardSettings())
    0.75
    >>> round(reward(0.75, 150.0, 75.0, RewardSettings()), 4)
    0.7145
    >>> reward(0.75, 150.0, 75.0, RewardSettings(form="hard"))
    0.375
    """
    if not (math.isfinite(accuracy) and 0 <= accuracy <= 1):
        raise ValueError(f"accuracy is {accuracy}; it must be from 0 to 1")
    if not (math.isfinite(latency_ms) and latency_ms > 0 and math.isfinite(target_ms) and target_ms > 0):
        raise ValueError(f"latency {latency_ms} ms and target {target_ms} ms must be finite and above 0")
    alpha, beta = settings.exponents
    exponent = alpha if latency_ms <= target_ms else beta
    return float(accuracy * (latency_ms / target_ms) ** exponent)
