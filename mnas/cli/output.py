"""What commands print: JSON for machines, plain tables for people, both on standard output."""

from __future__ import annotations

import io
import json
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnas.documents.foreign_text import one_line
from mnas.files import RunDirectoryError, open_for_append
from mnas.search.store import Trial


class LateFile(io.TextIOBase):
    """A log that is made when something is first written to it, and appended to.

    Raises:
        RunDirectoryError: There is something else in its place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if os.path.lexists(path):
            open_for_append(path).close()

    def write(self, text: str) -> int:
        """Append text; what a full disk cannot take is dropped, since threads of a library write here."""
        with suppress(OSError, RunDirectoryError), open_for_append(self._path) as file:
            file.write(text)
        return len(text)


def print_json(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_json_with_list(document: Mapping[str, object], key: str, items: Iterable[object]) -> None:
    """Print one JSON document that ends with a long list under `key`, without holding the list."""
    print(json.dumps(document, indent=2, allow_nan=False).removesuffix("\n}"), end=f',\n  "{key}": [')
    separator = "\n"
    for item in items:
        print(separator + textwrap.indent(json.dumps(item, indent=2, allow_nan=False), "    "), end="")
        separator = ",\n"
    print("]\n}" if separator == "\n" else "\n  ]\n}")


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns under a header; numbers should come formatted."""
    for line in table_lines(header, rows):
        print(line)


def table_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return columns under a header, a line for each row."""
    table = [[one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def trial_to_dict(trial: Trial) -> dict[str, Any]:
    """Return a trial as the JSON output shows it."""
    failure = trial.failure
    return {
        "id": trial.id,
        "state": trial.state,
        "indices": list(trial.decisions),
        "architecture": dict(trial.architecture),
        "fingerprint": trial.fingerprint,
        "repeat_of": trial.repeat_of,
        "accuracy": trial.accuracy,
        "latency_ms": trial.latency_ms,
        "reward": trial.reward,
        "failure": failure and {"kind": failure.kind.value, "message": failure.message},
        "training": trial.training,
        "latency": trial.latency,
        "proposed_at": trial.proposed_at,
        "finished_at": trial.finished_at,
    }


def number(value: float | None, digits: int) -> str:
    """Format a number, or a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"
