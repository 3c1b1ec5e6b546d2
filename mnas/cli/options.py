"""Types of option values that several commands have; argparse prints what they say."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError("must be a finite number above 0")
    return value


def target_percent(text: str) -> float:
    """Return an accuracy of more than 1 percent: a smaller one is taken for a fraction."""
    value = percent(text)
    if value <= 1:
        raise argparse.ArgumentTypeError(
            f"is in percent: {text} would be met by almost any network; for a fraction of {value:g} write "
            f"{100 * value:g}"
        )
    return value


def percent(text: str) -> float:
    """Return a number from 0 to 100."""
    value = float(text)
    if not (math.isfinite(value) and 0 <= value <= 100):
        raise argparse.ArgumentTypeError("must be from 0 to 100")
    return value
