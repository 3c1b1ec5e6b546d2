"""Study children: with and without the kernels, one after the other, in two workers, and as they grow.

python -m experiments.benchmarks.child_studies equal EXPERIMENT.yaml --seeds 10
python -m experiments.benchmarks.child_studies spread EXPERIMENT.yaml --children 4 --seeds 5
python -m experiments.benchmarks.child_studies endurance EXPERIMENT.yaml --children 100
python -m experiments.benchmarks.child_studies workers EXPERIMENT.yaml --children 24 --rounds 2
python -m experiments.benchmarks.child_studies recycling EXPERIMENT.yaml --children 24 --rounds 2
python -m experiments.benchmarks.child_studies growth EXPERIMENT.yaml --rounds 5
python -m experiments.benchmarks.child_studies full EXPERIMENT.yaml --rounds 3

equal      accuracy and CPU seconds of a child over seeds, with `mnas.kernels` and with MindSpore's operators only; the
           accuracy again with some `training.norm_batches`
spread     deviation of the accuracy between seeds and between random children, with some `training.norm_batches`
endurance  memory and CPU seconds of one worker, child after child
workers    children per hour of a whole search with two workers, as a share of twice those with one
recycling  what replacing a worker costs: its replacement loaded before, or waited for
growth     fixed cost of the A1-like child and its cost per image, over width, resolution, depth and images
full       images a second in training of MnasNet-B1 at two sizes, next to PyTorch channels-last if it is installed
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import psutil

from experiments.benchmarks.child_cost import A1_LIKE, children
from mnas.audit.statistics import spread_of
from mnas.data import ImageArrays, ImageForm, SearchData
from mnas.evaluation.accuracy import Evaluator
from mnas.experiment import Experiment
from mnas.mindspore_setup import Compute
from mnas.search.driver import Progress
from mnas.search.store import Trial
from mnas.training.norm_statistics import NormStatistics
from mnas.training.settings import Constant, TrainingSettings
from mnas.workers.child import train_network
from mnas.workers.cluster import ray_cluster
from mnas.workers.cores import take_core
from mnas.workers.pool import ChildPool
from search_space import Architecture, reference
from search_space.lowering import LoweredNetwork

EQUAL_WAYS = ("kernels", "mindspore")


@dataclass(frozen=True)
class ChildOutcome:
    """One child in this process.

    Attributes:
        accuracies: Its accuracy with the moving statistics of its batch norms ("moving"), and with those that are
            measured again, by their `norm_batches`.
        cpu_s: CPU seconds of its phases, evaluation included.
        resident_mb: Memory after it.
        norms_cpu_s: CPU seconds of measuring the statistics again, compilation included, by `norm_batches`.
    """

    accuracies: dict[str, float]
    cpu_s: dict[str, float]
    resident_mb: float
    norms_cpu_s: dict[str, float]


def run_child(
    architecture: Architecture,
    training: TrainingSettings,
    data: SearchData,
    seed: int,
    *,
    kernels: bool = True,
    norm_batches: Sequence[int] = (),
) -> ChildOutcome:
    """Train a child in this process as a worker does, in one thread.

    Its batch norms are also measured again, as by each of these settings of `training.norm_batches`.
    """
    network = ImageForm.of(data.train).lower(architecture)
    compute = Compute(threads=1, kernels=kernels)
    result = train_network(network, training, data.train, seed=seed, compute=compute)
    start = time.process_time()
    evaluator = Evaluator(network, data.reward, compute=compute)
    accuracies = {"moving": evaluator.evaluate(result.weights).top1}
    cpu_s = {name: phase.cpu_s for name, phase in result.phases.items()}
    cpu_s["evaluate"] = time.process_time() - start
    resident_mb = psutil.Process().memory_info().rss / 1e6
    norms_cpu_s = {}
    for batches in norm_batches:
        settings = msgspec.structs.replace(training, norm_batches=batches)
        norms = NormStatistics(
            network, settings, data.train, seed=seed, micro_batch_size=training.batch_size, compute=compute
        )
        start = time.process_time()
        weights = norms.measured(result.weights)
        norms_cpu_s[f"norm_batches {batches}"] = time.process_time() - start
        accuracies[f"norm_batches {batches}"] = evaluator.evaluate(weights).top1
    return ChildOutcome(accuracies, cpu_s, resident_mb, norms_cpu_s)


def equal(
    experiment: Experiment, data: SearchData, seeds: int, ways: Sequence[str], norm_batches: Sequence[int]
) -> dict[str, list[ChildOutcome]]:
    """Train one random child with every seed, alternately with the kernels and without."""
    architecture = children(experiment, 1, seed=experiment.seed)[f"random {experiment.seed}.0"]
    outcomes: dict[str, list[ChildOutcome]] = {way: [] for way in ways}
    for seed in range(seeds):
        for way, own in outcomes.items():
            own.append(
                run_child(
                    architecture,
                    experiment.training,
                    data,
                    seed,
                    kernels=way == "kernels",
                    norm_batches=norm_batches,
                )
            )
            print(f"seed {seed} {way:10} {_accuracies_text(own[-1])}", flush=True)
    for way, own in outcomes.items():
        train_s, compile_s = (statistics.median(outcome.cpu_s[key] for outcome in own) for key in ("train", "compile"))
        print(f"{way}: CPU s: training {train_s:.2f}, compilation {compile_s:.2f}")
        for kind in own[0].accuracies:
            accuracies = sorted(outcome.accuracies[kind] for outcome in own)
            print(f"{kind}: mean {statistics.mean(accuracies):.4f}, deviation {statistics.stdev(accuracies):.4f}")
            print(" ".join(f"{accuracy:.4f}" for accuracy in accuracies))
        for kind in own[0].norms_cpu_s:
            print(f"{kind}: {statistics.median(outcome.norms_cpu_s[kind] for outcome in own):.2f} CPU s")
    return outcomes


def spread(
    experiment: Experiment, data: SearchData, count: int, seeds: int, norm_batches: Sequence[int]
) -> dict[str, list[ChildOutcome]]:
    """Train random children with every seed; print how their accuracies differ between seeds and between networks."""
    random = dict(list(children(experiment, count, seed=experiment.seed).items())[1:])
    outcomes: dict[str, list[ChildOutcome]] = {name: [] for name in random}
    for seed in range(seeds):
        for name, architecture in random.items():
            outcome = run_child(architecture, experiment.training, data, seed, norm_batches=norm_batches)
            outcomes[name].append(outcome)
            print(f"seed {seed} {name:12} {_accuracies_text(outcome)}", flush=True)
    first, *_ = next(iter(outcomes.values()))
    for kind in first.accuracies:
        found = spread_of(np.array([[outcome.accuracies[kind] for outcome in own] for own in outcomes.values()]))
        print(
            f"{kind}: deviation {found.noise:.4f} between seeds, {found.between:.4f} between networks; the networks "
            f"make {found.reliability:.0%} of the variance"
        )
    return outcomes


def _accuracies_text(outcome: ChildOutcome) -> str:
    return ", ".join(f"{kind} {accuracy:.4f}" for kind, accuracy in outcome.accuracies.items())


def endurance(experiment: Experiment, data: SearchData, count: int) -> list[ChildOutcome]:
    """Train random children one after the other in this process.

    The A1-like child is the first and the last, so that a slowdown is seen.
    """
    random = list(children(experiment, count - 2, seed=experiment.seed).values())[1:]
    outcomes = []
    for number, architecture in enumerate([A1_LIKE, *random, A1_LIKE], 1):
        outcomes.append(run_child(architecture, experiment.training, data, seed=number))
        outcome = outcomes[-1]
        cpu_s = ", ".join(f"{name} {seconds:.2f}" for name, seconds in outcome.cpu_s.items() if name != "import")
        print(f"child {number}: {outcome.resident_mb:.0f} MB; CPU s: {cpu_s}", flush=True)
    tenth = max(1, (count - 2) // 10)
    for name, part in (("first", outcomes[1 : 1 + tenth]), ("last", outcomes[-1 - tenth : -1])):
        seconds = statistics.mean(sum(outcome.cpu_s.values()) - outcome.cpu_s["import"] for outcome in part)
        print(f"the {name} {tenth} random children: {seconds:.2f} CPU s on average")
    return outcomes


class _Clock:
    """Records when the children of a search end, by the wall clock."""

    def __init__(self) -> None:
        self.finished_s: list[float] = []

    def trial_finished(self, trial: Trial) -> None:
        """Record the time, unless the trial repeats an earlier one."""
        if trial.repeat_of is None:
            self.finished_s.append(time.perf_counter())

    def progress(self, progress: Progress) -> None:
        """Record nothing."""


def workers(experiment: Experiment, count: int, rounds: int) -> list[dict[str, float]]:
    """Run a whole search of the same random children with one worker and with two, in turn.

    A rate counts the children after the first of each worker. It does not include the start, but it includes the end,
    when one of two workers has nothing left to do.
    """
    latency = msgspec.structs.replace(experiment.latency, cache=False)
    rates: list[dict[str, float]] = []
    for _ in range(rounds):
        rate = {}
        for name, number in (("one", 1), ("two", 2)):
            search = msgspec.structs.replace(experiment.search, trials=count, workers=number)
            changed = msgspec.structs.replace(experiment, search=search, latency=latency, controller={"name": "random"})
            clock = _Clock()
            with tempfile.TemporaryDirectory() as directory:
                changed.run(Path(directory) / "run", observer=clock)
            seconds = clock.finished_s[-1] - clock.finished_s[number - 1]
            rate[name] = 3600 * (len(clock.finished_s) - number) / seconds
        rates.append(rate)
        share = rate["two"] / rate["one"] / 2
        print(f"one {rate['one']:.0f}, two {rate['two']:.0f} children an hour: {share:.0%} of twice one", flush=True)
    return rates


@dataclass(frozen=True)
class Recycling:
    """One pass of the same children through two workers: wall seconds, and how many workers were replaced."""

    way: str
    wall_s: float
    replaced: int
    resident_mb: float


def recycling(experiment: Experiment, data: SearchData, count: int, rounds: int) -> list[Recycling]:
    """Train the same children in two workers under three memory bounds.

    "never": no child reaches the bound. "ahead": each child comes near it, so that the replacement is loaded before it
    is needed. "waited for": each child exceeds it, so that the next one waits for the replacement.
    """
    passes = []
    with ray_cluster(msgspec.structs.replace(experiment.search, workers=2)):
        for _ in range(rounds):
            never = _recycling_pass("never", experiment, data, count, bound_mb=1_000_000)
            # From 90% of the bound on a replacement is loaded.
            ahead = _recycling_pass("ahead", experiment, data, count, bound_mb=1.05 * never.resident_mb)
            waited = _recycling_pass("waited for", experiment, data, count, bound_mb=0.5 * never.resident_mb)
            for each in (never, ahead, waited):
                line = f"{each.way:10} {each.wall_s:6.1f} s, {each.replaced} replaced"
                if each.replaced:
                    lost_s = 2 * (each.wall_s - never.wall_s) / each.replaced
                    line += f", {lost_s:.1f} s of a worker lost by each"
                print(line, flush=True)
            passes += [never, ahead, waited]
    return passes


def _recycling_pass(way: str, experiment: Experiment, data: SearchData, count: int, bound_mb: float) -> Recycling:
    search = msgspec.structs.replace(experiment.search, worker_memory_mb=round(bound_mb))
    first, *rest = list(children(experiment, count, seed=experiment.seed).values())[1:]
    pool = ChildPool(data, experiment.training, search, experiment.device, workers=2)
    try:
        wait([pool.submit(first, seed=0) for _ in range(2)])
        workers: set[int] = set()
        start = time.perf_counter()
        futures = [pool.submit(architecture, seed=0) for architecture in rest]
        while wait(futures, timeout=0.2).not_done:
            workers.update(pool.pids())
        wall_s = time.perf_counter() - start
        resident_mb = max(future.result()["resident_mb"] for future in futures)
        return Recycling(way, wall_s, len(workers) - 2, resident_mb)
    finally:
        pool.close()


@dataclass(frozen=True)
class GrowthCost:
    """CPU time of one child: a fixed part, and a part for each image."""

    fixed_s: float
    train_ms_per_image: float
    evaluate_ms_per_image: float


def growth(experiment: Experiment, data: SearchData, rounds: int) -> dict[str, list[GrowthCost]]:
    """Train A1-like children for one epoch each; vary width, resolution, depth and images one at a time."""
    base = {"width": 0.25, "size": 32, "extra_layers": 0, "images": 512}
    changes: list[dict[str, float]] = [
        {},
        {"width": 0.5},
        {"width": 1.0},
        {"size": 64},
        {"size": 96},
        {"extra_layers": 1},
        {"images": 1024},
    ]
    training = msgspec.structs.replace(experiment.training, epochs=1, schedule=Constant())
    costs: dict[str, list[GrowthCost]] = {}
    for _ in range(rounds):
        for change in changes:
            variant = {**base, **change}
            shaped = _shaped(data, int(variant["size"]), int(variant["images"]))
            outcome = run_child(_a1_like(variant["width"], int(variant["extra_layers"])), training, shaped, seed=0)
            trained = variant["images"] // training.batch_size * training.batch_size
            cost = GrowthCost(
                fixed_s=outcome.cpu_s["build"] + outcome.cpu_s["compile"],
                train_ms_per_image=1e3 * outcome.cpu_s["train"] / trained,
                evaluate_ms_per_image=1e3 * outcome.cpu_s["evaluate"] / len(shaped.reward),
            )
            name = ", ".join(f"{key} {value:g}" for key, value in change.items()) or "A1-like"
            costs.setdefault(name, []).append(cost)
    for name, own in costs.items():
        columns = {
            "fixed CPU s": [cost.fixed_s for cost in own],
            "CPU ms per image, training": [cost.train_ms_per_image for cost in own],
            "evaluation": [cost.evaluate_ms_per_image for cost in own],
        }
        spreads = (
            f"{column} {statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"
            for column, values in columns.items()
        )
        print(f"{name:14} {'; '.join(spreads)}")
    return costs


@dataclass(frozen=True)
class FullNetwork:
    """MnasNet-B1 at a width, the edge of its images, and its batches.

    Attributes:
        steps: Steps that are not counted; twice as many follow them.
    """

    width: float
    size: int
    batch_size: int
    steps: int


FULL_NETWORKS = (
    FullNetwork(0.75, size=224, batch_size=32, steps=2),
    FullNetwork(1.0, size=32, batch_size=64, steps=16),
)


def full(experiment: Experiment, data: SearchData, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Train full networks in each round; return images a second by network and way.

    A training of all steps less one of the first of them: what a way does in its first step does not count.
    """
    ways = {"mnas": _mnas_s} | ({"pytorch-channels-last": _pytorch_s} if importlib.util.find_spec("torch") else {})
    speeds: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for each in FULL_NETWORKS:
            training = msgspec.structs.replace(
                experiment.training, epochs=1, schedule=Constant(), batch_size=each.batch_size
            )
            first = each.steps * each.batch_size
            shaped = [_shaped(data, each.size, images) for images in (first, 3 * first)]
            network = ImageForm.of(shaped[0].train).lower(reference("mnasnet-b1").architecture.scaled(each.width))
            name = f"width {each.width:g}, {each.size} pixels, batch {each.batch_size}"
            for way, seconds in ways.items():
                first_s, all_s = (seconds(network, training, images) for images in shaped)
                speeds.setdefault(name, {}).setdefault(way, []).append(2 * first / (all_s - first_s))
    for name, found in speeds.items():
        for way, own in found.items():
            spread = f"{statistics.median(own):.1f} [{min(own):.1f}, {max(own):.1f}]"
            print(f"{name}: {way} {spread} images a second")
    return speeds


def _mnas_s(network: LoweredNetwork, training: TrainingSettings, data: SearchData) -> float:
    return train_network(network, training, data.train, seed=0, compute=Compute(threads=1)).phases["train"].wall_s


def _pytorch_s(network: LoweredNetwork, training: TrainingSettings, data: SearchData) -> float:
    from experiments.benchmarks import pytorch_child

    return pytorch_child.train(network, training, data, threads=1, channels_last=True)["train"].wall_s


def _a1_like(width: float, extra_layers: int) -> Architecture:
    scaled = replace(reference("mnasnet-a1").architecture.scaled(width), stem_stride=1)
    return replace(scaled, blocks=tuple(replace(block, layers=block.layers + extra_layers) for block in scaled.blocks))


def _shaped(data: SearchData, size: int, images: int) -> SearchData:
    """Return the data with this number of training images, drawn with repeats, and all images of this size."""
    if not (isinstance(data.train, ImageArrays) and isinstance(data.reward, ImageArrays)):
        raise SystemExit("growth needs images that are held in memory")
    chosen = np.random.default_rng(0).integers(len(data.train), size=images)
    return SearchData(data.train.select(chosen).resized(size), data.reward.resized(size))


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("equal", "spread", "endurance", "workers", "recycling", "growth", "full"))
    parser.add_argument("experiment", type=Path, help="its space, data and training are used")
    parser.add_argument("--seeds", type=int, default=10, help="of `equal` and `spread`, at least 2")
    parser.add_argument("--way", action="append", choices=EQUAL_WAYS, help="of `equal`, only this (repeatable)")
    parser.add_argument("--norm-batches", action="append", type=int, help="of `equal` and `spread` (repeatable)")
    parser.add_argument("--children", type=int, default=100, help="of `spread`, `endurance`, `workers` and `recycling`")
    parser.add_argument("--rounds", type=int, default=2, help="of `workers`, `recycling`, `growth` and `full`")
    parser.add_argument("--results", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    experiment = Experiment.load(arguments.experiment)
    data = experiment.data.load_search()
    # Held until the end: these studies train in this process, which gets a core of its own as a worker does.
    core = take_core() if arguments.study in ("equal", "spread", "endurance", "growth", "full") else None
    norm_batches = arguments.norm_batches or [50]
    found: object
    match arguments.study:
        case "equal":
            found = equal(experiment, data, arguments.seeds, arguments.way or EQUAL_WAYS, norm_batches)
        case "spread":
            found = spread(experiment, data, arguments.children, arguments.seeds, norm_batches)
        case "endurance":
            found = endurance(experiment, data, arguments.children)
        case "workers":
            found = workers(experiment, arguments.children, arguments.rounds)
        case "recycling":
            found = recycling(experiment, data, arguments.children, arguments.rounds)
        case "full":
            found = full(experiment, data, arguments.rounds)
        case _:
            found = growth(experiment, data, arguments.rounds)
    if arguments.results:
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(msgspec.to_builtins(found), indent=1) + "\n")
    if core is not None:
        core.close()


if __name__ == "__main__":
    main()
