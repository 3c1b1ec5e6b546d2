"""Compare the cost of a child of a search with other ways to train it.

    python -m experiments.benchmarks.child_cost experiments/benchmarks/child.yaml --rounds 3 --results FILE.json

The same children, random ones of the experiment's space and MnasNet-A1 at width 0.25 with a stem of stride 1, on the
same images for the same number of steps, in four ways that take turns:

    mnas      in a Ray worker of the search, one thread
    script    a new process for each child, plain MindSpore (plain_mindspore_child.py), all cores
    pytorch-channels-last
              in this process, `--threads` threads (pytorch_child.py), if PyTorch is installed; the module and the
              images in the memory format that PyTorch is fastest with
    pytorch   the same in PyTorch's default memory format

Wall and CPU seconds of a child, whole and by phase: the median over the rounds of each child, then the mean over
children. The start of a worker is not part of a child, because other work goes on meanwhile; it is printed separately.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from mnas.data import ImageForm, SearchData
from mnas.experiment import Experiment
from mnas.training.phases import PhaseTime
from mnas.workers.cluster import ray_cluster
from mnas.workers.pool import ChildPool
from search_space import Architecture, architecture_to_dict, cost, format_block, reference

Phases = dict[str, PhaseTime]
WAYS = ("mnas", "script", "pytorch-channels-last", "pytorch")
A1_LIKE = replace(reference("mnasnet-a1").architecture.scaled(0.25), stem_stride=1)


@dataclass(frozen=True)
class ChildRun:
    """One child, trained once in one way; `whole` is measured from outside."""

    child: str
    way: str
    round: int
    whole: PhaseTime
    phases: Phases


def children(experiment: Experiment, count: int, seed: int) -> dict[str, Architecture]:
    """Return the A1-like child and `count` random ones of the space, by name."""
    space, generator = experiment.load_space(), np.random.default_rng(seed)
    random = {f"random {seed}.{number}": space.decode(space.sample(generator)) for number in range(count)}
    return {"A1-like": A1_LIKE, **random}


def by_mnas(pool: ChildPool) -> Callable[[Architecture], tuple[PhaseTime, Phases]]:
    """Return the way of a search. CPU seconds are those of the worker within the phases."""

    def train(architecture: Architecture) -> tuple[PhaseTime, Phases]:
        start = time.perf_counter()
        result = pool.submit(architecture, seed=0).result()
        wall_s = time.perf_counter() - start
        phases = {name: PhaseTime(**phase) for name, phase in result["phases"].items() if name != "import"}
        return PhaseTime(wall_s, sum(phase.cpu_s for phase in phases.values())), phases

    return train


def by_script(experiment: Path) -> Callable[[Architecture], tuple[PhaseTime, Phases]]:
    """Return the way of a new process for each child."""

    def train(architecture: Architecture) -> tuple[PhaseTime, Phases]:
        command = [sys.executable, "-m", "experiments.benchmarks.plain_mindspore_child", str(experiment)]
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        start, cpu_s = time.perf_counter(), _cpu_s_of_children()
        order = json.dumps(architecture_to_dict(architecture))
        done = subprocess.run(command, input=order, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        whole = PhaseTime(time.perf_counter() - start, _cpu_s_of_children() - cpu_s)
        # MindSpore may print above it.
        return whole, msgspec.json.decode(done.stdout.splitlines()[-1], type=Phases)

    return train


def by_pytorch(
    experiment: Experiment, data: SearchData, threads: int, *, channels_last: bool
) -> Callable[[Architecture], tuple[PhaseTime, Phases]]:
    """Return the way of PyTorch, in one of its memory formats."""
    from experiments.benchmarks import pytorch_child

    def train(architecture: Architecture) -> tuple[PhaseTime, Phases]:
        start, cpu_s = time.perf_counter(), time.process_time()
        network = ImageForm.of(data.train).lower(architecture)
        phases = pytorch_child.train(network, experiment.training, data, threads, channels_last=channels_last)
        return PhaseTime(time.perf_counter() - start, time.process_time() - cpu_s), phases

    return train


def _cpu_s_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def medians(runs: Sequence[ChildRun], value: Callable[[ChildRun], float]) -> dict[tuple[str, str], float]:
    """Return the median over rounds by child and way."""
    keys = dict.fromkeys((run.child, run.way) for run in runs)
    return {key: statistics.median(value(run) for run in runs if (run.child, run.way) == key) for key in keys}


def mean_cost(runs: Sequence[ChildRun], phase: str | None) -> PhaseTime:
    """Return the mean over children of the medians over rounds, of a phase or (None) of the whole child."""

    def part(run: ChildRun) -> PhaseTime:
        return run.whole if phase is None else run.phases[phase]

    return PhaseTime(
        wall_s=statistics.mean(medians(runs, lambda run: part(run).wall_s).values()),
        cpu_s=statistics.mean(medians(runs, lambda run: part(run).cpu_s).values()),
    )


def print_summary(runs: Sequence[ChildRun]) -> None:
    """Print each child's cost, the mean of each way and phase, and the ratios of the ways."""
    ways = list(dict.fromkeys(run.way for run in runs))
    wall_s, cpu_s = medians(runs, lambda run: run.whole.wall_s), medians(runs, lambda run: run.whole.cpu_s)
    print(f"\n{'wall s (CPU s)':16}" + "".join(f"{way:>34}" for way in ways))
    for child in dict.fromkeys(run.child for run in runs):
        cells = []
        for way in ways:
            walls = [run.whole.wall_s for run in runs if (run.child, run.way) == (child, way)]
            spread = f"[{min(walls):.2f}, {max(walls):.2f}]"
            cells.append(f"{wall_s[child, way]:.2f} {spread} ({cpu_s[child, way]:.2f})")
        print(f"{child:16}" + "".join(f"{cell:>34}" for cell in cells))
    print("\nmean over children of the median over rounds: wall s (CPU s)")
    for way in ways:
        own = [run for run in runs if run.way == way]
        parts = {"whole": mean_cost(own, None)} | {name: mean_cost(own, name) for name in own[0].phases}
        print(f"  {way:22}" + ", ".join(f"{name} {part.wall_s:.2f} ({part.cpu_s:.2f})" for name, part in parts.items()))
    for what, seconds in (("wall", wall_s), ("CPU", cpu_s)):
        for way in ways:
            ratios = [value / seconds[child, "mnas"] for (child, one), value in seconds.items() if one == way]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{what} of {way} / mnas: {statistics.mean(ratios):.2f} on average, {spread}")


def write_results(path: Path, named: Mapping[str, Architecture], data: SearchData, runs: Sequence[ChildRun]) -> None:
    """Write the children, with their size, and every run."""
    networks = {
        name: {
            "blocks": [format_block(block) for block in architecture.blocks],
            **asdict(cost(ImageForm.of(data.train).lower(architecture))),
        }
        for name, architecture in named.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"children": networks, "runs": [asdict(run) for run in runs]}, indent=1) + "\n")


def main() -> None:
    """Train the children in every way, round after round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, help="its space, data and training are used")
    parser.add_argument("--children", type=int, default=8, help="random ones, in addition to the A1-like")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--script-rounds", type=int, default=1, help="rounds that the slow plain script takes part in")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--seed", type=int, default=0, help="of the random children")
    parser.add_argument("--way", action="append", choices=WAYS, help="only this (repeatable)")
    parser.add_argument("--results", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    experiment = Experiment.load(arguments.experiment)
    data = experiment.data.load_search()
    named = children(experiment, arguments.children, arguments.seed)
    search = msgspec.structs.replace(experiment.search, workers=1)
    runs = []
    with ray_cluster(search):
        start = time.perf_counter()
        pool = ChildPool(data, experiment.training, search, experiment.device, workers=1)
        try:
            ways = {"mnas": by_mnas(pool), "script": by_script(arguments.experiment)}
            if importlib.util.find_spec("torch"):
                ways["pytorch-channels-last"] = by_pytorch(experiment, data, arguments.threads, channels_last=True)
                ways["pytorch"] = by_pytorch(experiment, data, arguments.threads, channels_last=False)
            ways = {way: train for way, train in ways.items() if way in (arguments.way or ways)}
            if "mnas" in ways:
                ways["mnas"](named["A1-like"])
                print(f"a worker's start and first child: {time.perf_counter() - start:.1f} s")
            for number in range(arguments.rounds):
                for child, architecture in named.items():
                    for way, train in ways.items():
                        if way == "script" and number >= arguments.script_rounds:
                            continue
                        whole, phases = train(architecture)
                        runs.append(ChildRun(child, way, number, whole, phases))
                        print(
                            f"round {number} {child:12} {way:21} {whole.wall_s:7.2f} s, CPU {whole.cpu_s:7.2f} s",
                            flush=True,
                        )
                if arguments.results:
                    write_results(arguments.results, named, data, runs)
        finally:
            pool.close()
    print_summary(runs)


if __name__ == "__main__":
    main()
