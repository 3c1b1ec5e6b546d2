"""`--set FIELD=VALUE`: changes to the measurement protocol."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from latency import MeasurementSettings
from mnas.errors import ConfigurationError


def add_option(parser: argparse.ArgumentParser, where: str) -> None:
    """Add the option; `where` completes its help text."""
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help=f"change the measurement protocol {where}, as in --set sessions=3 (fields: latency.MeasurementSettings)",
    )


def changes(texts: Sequence[str]) -> dict[str, int | float]:
    """Return the changes by field.

    Raises:
        ConfigurationError: A field is unknown, or a value is no number that it can have.
    """
    known = {field.name: field.type for field in fields(MeasurementSettings)}
    values: dict[str, Any] = {}
    settings = MeasurementSettings()
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise ConfigurationError(f"--set {text}: unknown field {name!r}; there are {', '.join(known)}")
        try:
            values[name] = int(value) if known[name] == "int" else float(value)
        except ValueError as error:
            kind = "whole number" if known[name] == "int" else "number"
            raise ConfigurationError(f"--set {text}: {value!r} is not a {kind}") from error
        try:
            replace(settings, **{name: values[name]})
        except ValueError as error:
            raise ConfigurationError(f"--set {error}") from error
    return values
