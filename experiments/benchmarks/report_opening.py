"""How large is the report of a run, and how fast does it open?

    python -m experiments.benchmarks.report_opening RUN --rounds 3

Writes the report into a temporary folder and opens it in headless Chromium, in each round once at 1440 and once at
390 pixels. Printed are the size of the file, the time to write it, and the time from asking for the file until all
charts are drawn; the first opening of a browser is not counted. Needs Chromium.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from mnas.search.run import Run
from tools.chromium import opened_browser

WIDTHS = (1440, 390)


def main() -> int:
    """Write the report, open it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    with tempfile.TemporaryDirectory() as folder, opened_browser() as page:
        started = time.monotonic()
        report = run.report(Path(folder) / "report.html")
        print(f"{len(run.trials)} trials: {report.stat().st_size / 1e6:.2f} MB, written in", end=" ")
        print(f"{time.monotonic() - started:.2f} s")
        page.open(report.as_uri())
        rounds = [[page.open(report.as_uri(), width=width) for width in WIDTHS] for _ in range(arguments.rounds)]
        assert page.complaints == []
    for width, times_s in zip(WIDTHS, zip(*rounds, strict=True), strict=True):
        print(f"opened at {width} pixels: median {statistics.median(times_s):.2f} s", end=" ")
        print(f"({min(times_s):.2f} to {max(times_s):.2f}, {len(times_s)} times)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
