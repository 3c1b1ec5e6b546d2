"""A report as a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mnas.errors import ConfigurationError
from mnas.files import write_atomically
from mnas.report.data import report_data
from mnas.report.page import report_page
from mnas.search.run import Run


def write_report(runs: Sequence[Run], path: Path, references: Iterable[Path] = ()) -> Path:
    """Write the report of runs as one HTML file, and return its path; a file that is there is replaced.

    Args:
        runs: The runs.
        path: The file.
        references: Files of networks to compare with, see `mnas.report.references`.

    Raises:
        ConfigurationError: The file cannot be written, or a file of references does not fit the runs.
        DocumentError: A file of references cannot be read.
        StoreError: A run cannot be read.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path}: a folder; name the HTML file to write")
    page = report_page(report_data(runs, references))
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written ({error.strerror}); name another file with --out"
        ) from error
    return path
