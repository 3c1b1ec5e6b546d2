"""Compile the graphs of `graphs.py` for Ascend, once in a test session, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mnas.ascend.graphs import CARDS, GROUPS
from tools.build_cann_stubs import StubError, cached_stubs, has_toolkit

ROOT = Path(__file__).parents[3]
PROCESSES = 2
TIMEOUT_S = 600


@dataclass(frozen=True)
class Compiled:
    """What the processes said of each graph, by its name; and their output, by group."""

    results: Mapping[str, dict[str, Any]]
    outputs: Mapping[str, str]

    def error(self, group: str, name: str) -> str | None:
        """Return why a graph did not compile, None if it did."""
        if name not in self.results:
            return f"the process ended before {name!r} was compiled:\n{self.outputs[group][-3000:]}"
        error = self.results[name]["error"]
        return None if error is None else str(error)


@pytest.fixture(scope="session")
def dry_run() -> dict[str, str]:
    """The environment of MindSpore's dry run: level 1 with a real CANN, level 0 with stubs of it."""
    if has_toolkit():
        return {"MS_SIMULATION_LEVEL": "1"}
    try:
        return cached_stubs()
    except StubError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def compiled(dry_run: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """All graphs, compiled."""
    folder = tmp_path_factory.mktemp("ascend")  # MindSpore leaves folders where it runs
    search = os.pathsep.join(filter(None, [str(ROOT), dry_run.get("PYTHONPATH", os.environ.get("PYTHONPATH"))]))

    def compile_group(group: str) -> tuple[list[dict[str, Any]], str]:
        results = folder / f"{group}.jsonl"
        cards = {"RANK_SIZE": str(CARDS), "RANK_ID": "0"} if group == "cards" else {}
        done = subprocess.run(
            [sys.executable, "-m", "tests.mnas.ascend.compile_graphs", group, str(results)],
            env={**os.environ, **dry_run, **cards, "PYTHONPATH": search, "GLOG_v": "3"},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
        lines = results.read_text().splitlines() if results.exists() else []
        return [json.loads(line) for line in lines], done.stdout

    with ThreadPoolExecutor(PROCESSES) as pool:
        groups = dict(zip(GROUPS, pool.map(compile_group, GROUPS), strict=True))
    results = {each["graph"]: each for lines, _ in groups.values() for each in lines}
    return Compiled(results, {group: output for group, (_, output) in groups.items()})


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints to the terminal, captured or not."""

    def write(text: str) -> None:
        with capsys.disabled():
            print(text)

    return write
