"""What commands print: JSON for machines, plain tables for people, both on standard output."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mnas.documents.foreign_text import one_line
from mnas.files import open_for_append
from mnas.search.store import Trial


class LateFile(io.TextIOBase):
    """A text file that is made when something is first written to it, and appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> int:
        """Append text."""
        with open_for_append(self._path) as file:
            return file.write(text)


def print_json(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns under a header; numbers should come formatted."""
    table = [[one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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
