"""Does a search find better networks than chance and than the networks of the literature?

    python -m experiments.benchmarks.search_pays STATE --data data/cifar10
    python -m experiments.benchmarks.search_pays STATE --data data/cifar10 --minutes 4     # ends after about 4 minutes
    python -m experiments.benchmarks.search_pays STATE --rows --results FILE.json --plot FILE.svg

CIFAR-10 at small scale, in three steps:

1. Searches: each strategy with several seeds, at equal numbers of trained children, finalists included. They are those
   of the experiment `cifar10` with fewer images and `training.norm_batches`.
2. Networks: the winner of each search; one random network for each seed, the first of the random search, which stands
   for no search; and MnasNet-A1 and MobileNetV2 with a stem of stride 1 for 32 pixels, as wide as the median latency of
   the winners allows. All are timed in turn, in several rounds.
3. Full training of each network by one recipe, that of `cifar10` with fewer epochs, with several seeds. A network that
   several searches have found is trained once for each seed.

All state is in STATE. Killed at any moment or ended by --minutes, the same command goes on; a study keeps its size.
--rows prints what is there so far. The exit code is 0 if the study is complete, 3 if there is more to do. The defaults
take about three hours of two cores, half of them for the searches. The plot needs Matplotlib, which is no dependency of
the project.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from mnas.bundled_files import find_recipe
from mnas.cli.interrupt import stop_cleanly
from mnas.data import ImageForm
from mnas.documents.yaml_file import dump
from mnas.experiment import Experiment
from mnas.files import locked_directory, write_atomically
from mnas.ranks import kendall_tau
from mnas.retrain.recipe import Recipe, load_recipe
from mnas.reward import reward
from mnas.search.run import Run
from mnas.signals import Stopped
from mnas.space_latency import time_architectures
from mnas.workers.worker import die_with_parent
from search_space import (
    Architecture,
    ArchitectureFile,
    fingerprint,
    read_architecture,
    reference,
    write_architecture,
)

NAME = "cifar10"
"""Of the experiment and of the recipe that the study is made from."""
FORM = ImageForm(image_size=32, channels=3, num_classes=10)
STRATEGIES: Mapping[str, Mapping[str, str]] = {
    "ppo": {"name": "ppo"},
    "ppo-paper": {"name": "ppo", "preset": "paper"},
    "evolution": {"name": "regularized_evolution"},
    "random": {"name": "random"},
}
NORM_BATCHES = 10
"""Of a child: the lag of moving statistics is noise in so short a training."""
UNSEARCHED = "one random network"
REFERENCES = ("mnasnet-a1", "mobilenet-v2")
WIDTHS = [round(0.1 + 0.05 * step, 2) for step in range(25)]
"""Widths of a reference to choose from."""
MORE_TO_DO = 3
"""The exit code if the study is not complete."""
POLL_S, STOP_PATIENCE_S = 0.2, 60.0


@dataclass(frozen=True)
class Plan:
    """How large a study is.

    Attributes:
        seeds: Searches of each strategy.
        trials: Children of a search.
        finalists: Networks that are trained again after the trials of a search.
        extra_trainings: Trainings of these, at most.
        train_images: Images that a child is trained on.
        child_epochs: Epochs of a child.
        rounds: Latency measurements of each network.
        trainings: Full trainings of each network, with a seed each.
        epochs: Epochs of a full training.
    """

    seeds: int
    trials: int
    finalists: int
    extra_trainings: int
    train_images: int
    child_epochs: int
    rounds: int
    trainings: int
    epochs: int


@dataclass(frozen=True)
class Job:
    """A command of mnas that goes on where it was stopped.

    Attributes:
        arguments: Those of `mnas`.
        output: The file that gets its standard output when it has succeeded.
    """

    arguments: Sequence[str]
    output: Path


@dataclass(frozen=True)
class Found:
    """A network of the comparison.

    Attributes:
        by: What found it: a strategy, `UNSEARCHED`, or the name of a reference.
        seed: The seed of the search; None for a reference.
        architecture: The network.
        searched: What the search says of its winner: accuracy, reward, number of trainings; empty for others.
    """

    by: str
    seed: int | None
    architecture: Architecture
    searched: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What is equal for equal networks."""
        return fingerprint(self.architecture)


class OutOfTimeError(Exception):
    """The minutes that were given are over."""


@dataclass(frozen=True)
class Study:
    """A study in its folder.

    Attributes:
        folder: The folder.
        plan: Its size.
    """

    folder: Path
    plan: Plan

    @property
    def searches(self) -> list[tuple[str, int]]:
        """Strategy and seed of each search, seed by seed, so that a part of the study is balanced."""
        return [(strategy, seed) for seed in range(self.plan.seeds) for strategy in STRATEGIES]

    def run_folder(self, strategy: str, seed: int) -> Path:
        """Return the run directory of a search."""
        return self.folder / "searches" / f"{strategy}-{seed}"

    def is_searched(self, strategy: str, seed: int) -> bool:
        """Return whether a search is complete, finalists included."""
        return self.run_folder(strategy, seed).with_suffix(".json").exists()

    def experiment(self, strategy: str, seed: int, data: Path) -> Experiment:
        """Return the experiment of a search."""
        plan = self.plan
        return Experiment.load(NAME).changed(
            {
                "data.directory": str(data),
                "data.train_images": plan.train_images,
                "training.epochs": plan.child_epochs,
                "training.norm_batches": NORM_BATCHES,
                "controller": dict(STRATEGIES[strategy]),
                "search.trials": plan.trials,
                # Equal numbers of trained children, although some strategies propose a network twice.
                "search.repeats.proposed_again": "train",
                "search.finalists": {"count": plan.finalists, "extra_trainings": plan.extra_trainings},
                # Each search measures for itself.
                "latency.cache": False,
                "seed": seed,
            }
        )

    def search_job(self, strategy: str, seed: int, data: Path) -> Job:
        """Write the experiment of a search, and return the search."""
        folder = self.run_folder(strategy, seed)
        folder.parent.mkdir(parents=True, exist_ok=True)
        experiment = folder.with_suffix(".yaml")
        self.experiment(strategy, seed, data).save(experiment)
        arguments = ["search", str(experiment), "--run-dir", str(folder), "--json"]
        return Job(arguments, folder.with_suffix(".json"))

    def searched_networks(self) -> list[Found]:
        """Return the winners of the complete searches, and the random networks."""
        found = []
        for strategy, seed in self.searches:
            if not self.is_searched(strategy, seed):
                continue
            run = Run.open(self.run_folder(strategy, seed))
            winner = run.finalists()[0]
            found.append(Found(strategy, seed, run.architecture(winner.trial), winner.to_dict()))
            if strategy == "random":
                found.append(Found(UNSEARCHED, seed, run.architecture(run.trial(1)), {}))
        return found

    def references(self) -> list[Found]:
        """Return the references whose width has been chosen."""
        files = {name: self.folder / "references" / f"{name}.yaml" for name in REFERENCES}
        return [
            Found(name, None, read_architecture(file).architecture, {}) for name, file in files.items() if file.exists()
        ]

    def choose_references(self) -> None:
        """Choose the width of each reference whose latency is next to the median of the winners'."""
        winners = [found.architecture for found in self.searched_networks() if found.by != UNSEARCHED]
        wanted_ms = statistics.median(timed(winners))
        for name in REFERENCES:
            file = self.folder / "references" / f"{name}.yaml"
            if file.exists():
                continue
            base = replace(reference(name).architecture, stem_stride=1)
            widths = {fingerprint(scaled := base.scaled(width)): (width, scaled) for width in WIDTHS}
            latencies_ms = timed([scaled for _, scaled in widths.values()])
            distances = [abs(math.log(latency_ms / wanted_ms)) for latency_ms in latencies_ms]
            width, scaled = list(widths.values())[distances.index(min(distances))]
            file.parent.mkdir(parents=True, exist_ok=True)
            write_architecture(file, ArchitectureFile(scaled, name=f"{name}, width {width:g}, stem stride 1"))

    @property
    def latencies_ms(self) -> dict[str, list[float]]:
        """The latencies of each network in milliseconds, by its key."""
        file = self.folder / "latencies.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def measure(self, deadline_s: float) -> None:
        """Time all networks in rounds."""
        networks = {found.key: found.architecture for found in [*self.searched_networks(), *self.references()]}
        known = self.latencies_ms
        for done in range(min(map(len, known.values()), default=0), self.plan.rounds):
            check_time(deadline_s)
            for key, latency_ms in zip(networks, timed(list(networks.values())), strict=True):
                known[key] = [*known.get(key, [])[:done], latency_ms]
            write_atomically(self.folder / "latencies.json", json.dumps(known, indent=1).encode())

    def recipe(self, seed: int, data: Path) -> Recipe:
        """Return the recipe of full trainings."""
        bundled = load_recipe(find_recipe(NAME)).with_data_directory(str(data))
        epochs = self.plan.epochs
        return msgspec.structs.replace(
            bundled,
            training=msgspec.structs.replace(bundled.training, epochs=epochs),
            # The test set is looked at once, and the last step counts.
            validate_every_epochs=epochs,
            keep_best=0,
            checkpoint_every_steps=50,
            seed=seed,
        )

    def training_file(self, key: str, seed: int) -> Path:
        """Return the file that gets the result of a full training."""
        return self.folder / "trainings" / f"{key}-{seed}.json"

    def training_jobs(self, seed: int, data: Path) -> list[Job]:
        """Write recipe and networks, and return the full trainings with a seed."""
        recipe = self.folder / "trainings" / f"recipe-{seed}.yaml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(dump(self.recipe(seed, data)))
        jobs = {}
        for found in [*self.searched_networks(), *self.references()]:
            output = self.training_file(found.key, seed)
            network = output.with_name(f"{found.key}.yaml")
            write_architecture(network, ArchitectureFile(found.architecture, name=found.key))
            arguments = ["retrain", str(network), "--recipe", str(recipe), "--run-dir", str(output.with_suffix(""))]
            jobs[found.key] = Job([*arguments, "--json"], output)
        return list(jobs.values())

    def go_on(self, data: Path, jobs: int, deadline_s: float) -> None:
        """Carry out what is left of the study.

        Raises:
            OutOfTimeError: It is not complete at the deadline.
        """
        for strategy, seed in self.searches:
            run_jobs([self.search_job(strategy, seed, data)], 1, deadline_s)
        if len(self.references()) < len(REFERENCES):
            check_time(deadline_s)
            self.choose_references()
        self.measure(deadline_s)
        for seed in range(self.plan.trainings):
            run_jobs(self.training_jobs(seed, data), jobs, deadline_s)

    def rows(self) -> list[dict[str, Any]]:
        """Return what is known of each network so far."""
        experiment, latencies_ms, rows = Experiment.load(NAME), self.latencies_ms, []
        for found in [*self.searched_networks(), *self.references()]:
            files = [self.training_file(found.key, seed) for seed in range(self.plan.trainings)]
            top1 = [json.loads(file.read_text())["top1"] for file in files if file.exists()]
            row: dict[str, Any] = {
                "by": found.by,
                "seed": found.seed,
                "network": found.key,
                "searched": dict(found.searched),
                "latencies_ms": latencies_ms.get(found.key, []),
                "top1": top1,
            }
            if top1 and row["latencies_ms"]:
                row["latency_ms"] = statistics.median(row["latencies_ms"])
                row["reward"] = reward(
                    statistics.fmean(top1), row["latency_ms"], experiment.latency.target_ms, experiment.reward
                )
            rows.append(row)
        return rows


def timed(architectures: Sequence[Architecture]) -> list[float]:
    """Return latencies on this machine, in milliseconds."""
    return [record.latency_ms for record in time_architectures(list(architectures), "host", FORM)]


def check_time(deadline_s: float) -> None:
    """Raise OutOfTimeError if the deadline has passed."""
    if time.monotonic() >= deadline_s:
        raise OutOfTimeError


def run_jobs(jobs: Sequence[Job], at_a_time: int, deadline_s: float) -> None:
    """Carry out the commands that have not succeeded yet, several at a time.

    Raises:
        SystemExit: A command has failed.
        OutOfTimeError: They have not all ended at the deadline; those that ran are stopped.
    """
    waiting = [job for job in jobs if not job.output.exists()]
    running: list[tuple[Job, subprocess.Popen[bytes]]] = []
    try:
        while waiting or running:
            check_time(deadline_s)
            while waiting and len(running) < at_a_time:
                running.append((waiting[0], _started(waiting.pop(0))))
            time.sleep(POLL_S)
            for job, process in [pair for pair in running if pair[1].poll() is not None]:
                running.remove((job, process))
                if process.returncode:
                    raise SystemExit(f"mnas {' '.join(job.arguments)}: exit code {process.returncode}; see {_log(job)}")
                _unfinished(job).replace(job.output)
                print(f"{time.strftime('%H:%M:%S')} {job.output} is there", flush=True)
    finally:
        for _, process in running:
            process.terminate()
        for _, process in running:
            try:
                process.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _started(job: Job) -> subprocess.Popen[bytes]:
    with _unfinished(job).open("wb") as output, _log(job).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mnas", *job.arguments],
            stdout=output,
            stderr=log,
            # Ctrl-C reaches it through this process alone; and if this process is killed, the same command must not
            # meet the old one at work.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _unfinished(job: Job) -> Path:
    return job.output.with_suffix(".unfinished")


def _log(job: Job) -> Path:
    return job.output.with_suffix(".log")


def summaries(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return means over the networks of each origin, with standard errors between them.

    The networks of a strategy come from different seeds of its search, so the error has the luck of the search in it
    and that of the trainings. For a reference it is that between trainings.
    """
    found = []
    for by in dict.fromkeys(row["by"] for row in rows):
        own = [row for row in rows if row["by"] == by and "reward" in row]
        if not own:
            continue
        accuracies = own[0]["top1"] if by in REFERENCES else [statistics.fmean(row["top1"]) for row in own]
        found.append(
            {
                "by": by,
                "networks": len(own),
                "trainings": sum(len(row["top1"]) for row in own),
                "top1": statistics.fmean(accuracies),
                "top1_error": error_of(accuracies),
                "latency_ms": statistics.fmean(row["latency_ms"] for row in own),
                "reward": statistics.fmean(row["reward"] for row in own),
                "reward_error": None if by in REFERENCES else error_of([row["reward"] for row in own]),
            }
        )
    return found


def error_of(values: Sequence[float]) -> float | None:
    """Return the standard error of a mean; None for one value."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def results_of(study: Study) -> dict[str, Any]:
    """Return what is known so far, as JSON has it."""
    rows = study.rows()
    winners = [row for row in rows if row["searched"] and row["top1"]]
    tau = kendall_tau(
        [row["searched"]["accuracy"] for row in winners], [statistics.fmean(row["top1"]) for row in winners]
    )
    return {
        "plan": asdict(study.plan),
        "searches_complete": sum(study.is_searched(*search) for search in study.searches),
        "searches": len(study.searches),
        "summaries": summaries(rows),
        "kendall_tau": {"of": "search and full accuracy of the winners", "winners": len(winners), "tau": tau},
        "networks": rows,
    }


def print_results(results: Mapping[str, Any]) -> None:
    """Print the table of networks and that of their origins."""
    print(f"{results['searches_complete']} of {results['searches']} searches are complete")
    print(f"{'found by':20}{'seed':>5} {'network':18}{'in the search':>14}{'ms':>9}  top-1 of each full training")
    for row in results["networks"]:
        searched, seed = row["searched"].get("accuracy"), row["seed"]
        latencies_ms = row["latencies_ms"]
        cells = [
            f"{row['by']:20}{'' if seed is None else seed:>5} {row['network']:18}",
            f"{'' if searched is None else f'{searched:.4f}':>14}",
            f"{statistics.median(latencies_ms):>9.4f}" if latencies_ms else f"{'':>9}",
            "  " + " ".join(f"{100 * top1:.2f}%" for top1 in row["top1"]),
        ]
        print("".join(cells))
    print()
    for one in results["summaries"]:
        print(
            f"{one['by']:20} {one['networks']} networks, {one['trainings']} trainings: top-1 {100 * one['top1']:.2f}%"
            f"{_error(one['top1_error'], 100)} at {one['latency_ms']:.4f} ms, reward {one['reward']:.4f}"
            f"{_error(one['reward_error'], 1)}"
        )
    tau = results["kendall_tau"]
    if tau["tau"] is not None:
        print(f"Kendall's tau {tau['tau']:.2f} between {tau['of']} ({tau['winners']})")


def _error(error: float | None, factor: float) -> str:
    return "" if error is None else f" +- {factor * error:.{2 if factor == 100 else 4}f}"


def plot(path: Path, results: Mapping[str, Any]) -> None:
    """Draw test accuracy against latency: a dot for each network, a line from its lowest to its highest accuracy."""
    # Imported by name, so that type checkers do not need a package that only this function uses.
    canvas = importlib.import_module("matplotlib.figure")
    drawing = canvas.Figure(figsize=(7, 4.5), layout="tight")
    axis = drawing.subplots()
    rows = [row for row in results["networks"] if "latency_ms" in row]
    for number, by in enumerate(dict.fromkeys(row["by"] for row in rows)):
        own = [row for row in rows if row["by"] == by]
        means = [100 * statistics.fmean(row["top1"]) for row in own]
        low = [mean - 100 * min(row["top1"]) for mean, row in zip(means, own, strict=True)]
        high = [100 * max(row["top1"]) - mean for mean, row in zip(means, own, strict=True)]
        latencies_ms = [row["latency_ms"] for row in own]
        marker = "oosv^DX"[number % 7] if by not in REFERENCES else "*"
        axis.errorbar(latencies_ms, means, yerr=[low, high], fmt=marker, capsize=2, label=by)
    axis.axvline(Experiment.load(NAME).latency.target_ms, linestyle="--", color="grey", linewidth=1)
    axis.set(xlabel="latency on one core of the host (ms)", ylabel="top-1 of 10,000 test images (%)")
    axis.legend(fontsize="small")
    drawing.savefig(path)


@contextmanager
def opened(folder: Path, plan: Plan) -> Iterator[Study]:
    """Lock the folder of a study: a new one, or one of the same size.

    Raises:
        SystemExit: The study has another size.
    """
    file = folder / "study.json"
    with locked_directory(folder, "search_pays"):
        if file.exists() and (before := stored_plan(folder)) != plan:
            raise SystemExit(f"{folder}: a study of another size ({before}); give the same options, or a new folder")
        write_atomically(file, json.dumps(asdict(plan), indent=1).encode())
        yield Study(folder, plan)


def stored_plan(folder: Path) -> Plan:
    """Return the size of the study in a folder."""
    return Plan(**json.loads((folder / "study.json").read_text()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Go on with a study, or print what it has found so far."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, metavar="STATE", help="the folder of the study")
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="with train/CLASS/* and test/CLASS/*")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each strategy (default: 3)")
    parser.add_argument("--trials", type=int, default=32, help="children of a search (default: 32)")
    parser.add_argument("--finalists", type=int, default=4, help="of a search (default: 4)")
    parser.add_argument("--extra-trainings", type=int, default=8, help="of finalists, at most (default: 8)")
    parser.add_argument("--train-images", type=int, default=3000, help="of a child (default: 3000)")
    parser.add_argument("--child-epochs", type=int, default=2, help="(default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="latency measurements of each network (default: 3)")
    parser.add_argument("--trainings", type=int, default=3, help="full trainings of each network (default: 3)")
    parser.add_argument("--epochs", type=int, default=3, help="of a full training (default: 3)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="full trainings at a time")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after about so many minutes")
    parser.add_argument("--rows", action="store_true", help="print what is there, and do nothing")
    parser.add_argument("--results", type=Path, metavar="FILE.json")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    options = parser.parse_args(arguments)
    code = 0
    if options.rows:
        study = Study(options.state.resolve(), stored_plan(options.state))
    else:
        deadline_s = time.monotonic() + 60 * options.minutes
        plan = Plan(**{field.name: getattr(options, field.name) for field in fields(Plan)})
        stop_cleanly()
        with opened(options.state.resolve(), plan) as study:
            try:
                study.go_on(options.data.resolve(), options.jobs, deadline_s)
            except OutOfTimeError:
                code = MORE_TO_DO
            except Stopped as stopped:
                print("stopped; the same command goes on", file=sys.stderr)
                return stopped.exit_code
    results = results_of(study)
    print_results(results)
    if options.results:
        options.results.write_text(json.dumps(results, indent=1) + "\n")
    if options.plot:
        plot(options.plot, results)
    return code


if __name__ == "__main__":
    sys.exit(main())
