"""Arguments and types of option values that several commands have; argparse prints what they say."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mnas.documents.user_paths import user_path


def path(text: str) -> Path:
    """Return a path, `~` replaced by the home folder."""
    return user_path(name_or_path(text))


def name_or_path(text: str) -> str:
    """Return a name, or a path with `~` replaced by the home folder, as text."""
    if not text:  # an unset variable of a shell script; as a path it would be the working directory
        raise argparse.ArgumentTypeError("is empty; give a name or a path")
    return str(user_path(text)) if text.startswith("~") else text


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add the argument EXPERIMENT."""
    parser.add_argument(
        "experiment", metavar="EXPERIMENT", type=name_or_path, help="name of a bundled experiment, or a YAML file"
    )


def add_references(parser: argparse.ArgumentParser) -> None:
    """Add the option --reference, which may be given again."""
    parser.add_argument(
        "--reference",
        metavar="FILE",
        type=path,
        action="append",
        default=[],
        help="what `mnas scale --json` has printed of trained and timed networks, to show next to those of the search; "
        "again for more",
    )


def seed(text: str) -> int:
    """Return a whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def width(text: str) -> float:
    """Return what widths are multiplied by, above 0."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


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
