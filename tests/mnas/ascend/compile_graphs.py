"""Compile graphs for Ascend in a process of their own: `python -m tests.mnas.ascend.compile_graphs GROUP RESULTS`.

RESULTS gets a line of JSON for each graph, as soon as it is done. The environment decides what "compile" means: with
`MS_SIMULATION_LEVEL=0`, MindSpore's front end for Ascend; with level 1 and a real CANN, also one step on a simulated
device, whose memory is then reported. Level 1 has not been tested: we have no CANN.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnas.errors import TrainingDivergedError
from mnas.mindspore_setup import prepare_mindspore
from mnas.training.trainer import Trainer
from tests.mnas.ascend.graphs import ASCEND, COMPUTES, GROUPS, Graph


def result_of(graph: Graph, level: str) -> dict[str, Any]:
    """Compile a graph; return what happened."""
    start = time.perf_counter()
    result: dict[str, Any] = {"graph": graph.name, "error": None}
    try:
        trainer = graph.compile()
        if level == "1" and trainer is not None:
            result["peak_memory_mb"] = _peak_memory_mb(trainer)
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"
    return {**result, "seconds": round(time.perf_counter() - start, 1)}


def _peak_memory_mb(trainer: Trainer) -> float:
    import mindspore

    mindspore.runtime.reset_max_memory_allocated()
    with suppress(TrainingDivergedError):  # nothing is computed, so the loss may be any number
        next(trainer.steps(0, range(1)))
    return float(mindspore.runtime.max_memory_allocated()) / 1e6


def main(group: str, results: Path) -> None:
    """Compile the graphs of a group."""
    prepare_mindspore(COMPUTES.get(group, ASCEND))
    if group == "cards":
        from mindspore import communication

        communication.init()
    with results.open("w") as file:
        for graph in GROUPS[group]():
            print(json.dumps(result_of(graph, os.environ["MS_SIMULATION_LEVEL"])), file=file, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
