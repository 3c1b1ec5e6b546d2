"""Does a live page slow the search that it shows, and how late is what it shows?

    python -m experiments.benchmarks.live_page quickstart --rounds 3 --folder FOLDER

Each round runs the search twice: alone, and with `mnas ui` and its page open in headless Chromium. The order changes
from round to round. Printed are both times of each round, the time from the end of each trial in the store until the
page has it in its table and until it is in the charts, the time from the start of `mnas ui` until it answers, that from
opening the page until its run is drawn, and the CPU seconds of server and browser, which the search lacks if both are
on its machine; the start of the browser is not counted, since it comes before the search. The same command again adds
rounds to those in FOLDER. Needs Chromium and `mnas[ui]`.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from mnas.errors import Error
from mnas.search.run import Run
from tools.chromium import opened_browser

MNAS = (sys.executable, "-m", "mnas")
# Notes when each trial that has ended was in the page and in its charts for the first time, in ms since 1970.
WATCH = """
(() => {
  window.seen = {}; window.charted = {};
  const note = (times) => {
    const { id, state } = data.runs[0].trials;
    id.forEach((number, index) => { if (state[index] !== "proposed") times[number] ??= Date.now(); });
  };
  const page = () => { if (document.body.dataset.ready === "yes") note(window.seen); };
  new MutationObserver(page).observe(document.body, { attributes: true });
  const { place } = drawn.get("Reward of each trial");
  new MutationObserver(() => note(window.charted)).observe(place, { attributeFilter: ["data-items"] });
  page();
})()
"""


def main() -> int:
    """Run the rounds and print what all rounds in the folder tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="a bundled experiment, or a YAML file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True, help="where runs and results are kept")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    kept = arguments.folder / "rounds.json"
    rounds: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    for number in range(len(rounds), len(rounds) + arguments.rounds):
        directories = arguments.folder / f"alone{number}", arguments.folder / f"page{number}"
        found: dict[str, Any] = {}
        if number % 2:
            found |= with_page(arguments.experiment, directories[1])
        found |= {"alone_s": alone(arguments.experiment, directories[0])}
        if number % 2 == 0:
            found |= with_page(arguments.experiment, directories[1])
        rounds.append(found)
        kept.write_text(json.dumps(rounds))
    print_rounds(rounds)
    return 0


def alone(experiment: str, directory: Path) -> float:
    """Return the seconds of a search without a page."""
    started = time.monotonic()
    subprocess.run([*MNAS, "search", experiment, "--run-dir", str(directory)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def with_page(experiment: str, directory: Path) -> dict[str, Any]:
    """Run a search with its page open.

    Returns:
        `page_s`: seconds of the search. `answered_s`: from the start of `mnas ui` until it answered. `opened_s`: from
        opening the page until its run was drawn. `delays_s`: of each trial that ended while the page was open, from its
        end in the store until it was in the table. `chart_delays_s`: until it was in the charts. `cpu_s`: CPU seconds
        of server and browser from the start of the search to its end.
    """
    with opened_browser() as page:
        browser_s, started = cpu_s(), time.monotonic()
        search = subprocess.Popen([*MNAS, "search", experiment, "--run-dir", str(directory)], stdout=subprocess.DEVNULL)
        while not has_trials(directory):
            time.sleep(0.2)
        asked = time.monotonic()
        with served(directory.parent) as address:
            answered_s = time.monotonic() - asked
            page.open(f"{address}/run/{directory.name}")
            opened_s, opened_at = time.monotonic() - asked - answered_s, time.time()
            page.evaluate(WATCH)
            assert search.wait() == 0
            page_s = time.monotonic() - started
            used_s = cpu_s() - browser_s
            trials = Run.open(directory).trials
            ended = {one.id: datetime.fromisoformat(one.finished_at).timestamp() for one in trials if one.finished_at}
            late = {number: at for number, at in ended.items() if at > opened_at}
            page.wait_until(f"{json.dumps(sorted(late))}.every((one) => one in window.seen && one in window.charted)")
            seen, charted = page.evaluate("[window.seen, window.charted]")
        assert page.complaints == []
    return {
        "page_s": page_s,
        "answered_s": answered_s,
        "opened_s": opened_s,
        "delays_s": [seen[str(number)] / 1000 - at for number, at in late.items()],
        "chart_delays_s": [charted[str(number)] / 1000 - at for number, at in late.items()],
        "cpu_s": used_s,
    }


def has_trials(directory: Path) -> bool:
    """Return whether a search has proposed trials in a directory, which may not be a run yet."""
    try:
        return Run.open(directory).counts()["proposed"] > 0
    except Error:
        return False


def cpu_s() -> float:
    """Return the CPU seconds of all processes that this one has started and that are still there."""
    total_s = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total_s += times.user + times.system
    return total_s


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `mnas ui` for a folder and yield its address; it ends with the context."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([*MNAS, "ui", str(folder), "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except ConnectionRefusedError:
                assert server.poll() is None, "mnas ui has ended"
                time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def print_rounds(rounds: Sequence[dict[str, Any]]) -> None:
    """Print each round, and medians with the least and the largest of all."""
    for number, one in enumerate(rounds, start=1):
        ratio = one["page_s"] / one["alone_s"]
        print(f"round {number}: alone {one['alone_s']:.1f} s, with its page open {one['page_s']:.1f} s ({ratio:.3f})")
    print_spread("with its page open / alone", [one["page_s"] / one["alone_s"] for one in rounds])
    print_spread("start of mnas ui until it answers (s)", [one["answered_s"] for one in rounds])
    print_spread("opening the page until its run is drawn (s)", [one["opened_s"] for one in rounds])
    print_spread("CPU of server and browser (s)", [one["cpu_s"] for one in rounds])
    print_spread("end of a trial until it is in the table (s)", [delay for one in rounds for delay in one["delays_s"]])
    print_spread("until it is in the charts (s)", [delay for one in rounds for delay in one["chart_delays_s"]])


def print_spread(what: str, values: Sequence[float]) -> None:
    """Print the median, the least and the largest of values."""
    print(
        f"{what}: median {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}, {len(values)} values)"
    )


if __name__ == "__main__":
    sys.exit(main())
