"""A report as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnas.errors import ConfigurationError
from mnas.files import write_atomically
from mnas.report.data import report_data
from mnas.report.page import report_page
from mnas.search.run import Run


def write_report(runs: Sequence[Run], path: Path) -> Path:
    """Write the report of runs as one HTML file, and return its path; a file that is there is replaced.

    Raises:
        ConfigurationError: The file cannot be written.
        StoreError: A run cannot be read.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path}: a folder; name the HTML file to write")
    page = report_page(report_data(runs))
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written ({error.strerror}); name another file with --out"
        ) from error
    return path
