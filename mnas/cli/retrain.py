"""`mnas retrain ARCH --recipe RECIPE`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from mnas.bundled_files import find_recipe
from mnas.checkpoints.foreign import check_holds_no_weights
from mnas.cli.errors import DONE, interrupted
from mnas.cli.interrupt import stop_cleanly
from mnas.cli.options import name_or_path, positive
from mnas.cli.options import path as path_option
from mnas.cli.options import width as width_option
from mnas.cli.output import print_json
from mnas.cli.retrain_progress import retrain_progress
from mnas.cli.retrain_top import run_top
from mnas.errors import ConfigurationError
from mnas.export.source import find_source
from mnas.machine.check import require_machine
from mnas.mindspore_setup import Device
from mnas.retrain.directory import INIT_FILE, PROCESSES_FOLDER
from mnas.retrain.loop import RetrainObserver
from mnas.retrain.processes import Process, is_one_of_several, join_processes, run_on_cards
from mnas.retrain.recipe import Recipe, load_recipe
from mnas.retrain.retrain import RetrainResult, retrain
from mnas.retrain.starting_point import find_starting_point
from mnas.search.run import Run
from mnas.search.run_directory import is_run
from mnas.search.trial import Trial
from mnas.search.weights import read_weights, weights_file
from search_space import ArchitectureFile, find_architecture_file

_DESCRIPTION = """\
Train one architecture fully by a recipe, or resume its training: the same
command on the same run directory goes on from the last checkpoint, whatever
stopped it. Standard output gets the accuracy of the trained network.
With --top K these are the K best networks of a run, several at a time on Ray.

It starts from drawn weights; with --init from those of a checkpoint, on the
same data or on other data (fine-tuning); with --from from the weights that a
search has kept of its child (search.keep_weights).
"""
_EPILOG = """\
examples:
  mnas retrain runs/cifar10 --recipe cifar10 --data data/cifar10
  mnas retrain runs/cifar10 --trial 12 --recipe cifar10 --data data/cifar10
  mnas retrain runs/cifar10 --top 15 --recipe cifar10 --data data/cifar10
  mnas retrain --from runs/cifar10 --recipe cifar10 --data data/cifar10
  mnas retrain --init runs/final/last.safetensors --recipe flowers.yaml
  mnas retrain mnasnet-b1 --width 0.75 --init mnasnet_075.ckpt \\
      --recipe flowers.yaml
  mnas retrain mnasnet-b1 --width 0.75 --recipe mnasnet_paper --cards 8
  msrun --worker_num 8 --local_worker_num 8 --join True \\
      python -m mnas retrain --recipe mindcv.yaml --data imagenet

bundled recipes: cifar10, mnasnet_0.75_ascend, mnasnet_paper
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "retrain",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "architecture",
        metavar="ARCH",
        nargs="?",
        type=name_or_path,
        help="a reference (mnasnet-a1, ...), an architecture.yaml, or the run directory of a search (default: what the "
        "recipe names)",
    )
    parser.add_argument(
        "--from",
        dest="from_run",
        metavar="RUN",
        type=name_or_path,
        help="in place of ARCH: a run directory of a search; starts from the weights that it has kept of the trial",
    )
    parser.add_argument(
        "--init",
        metavar="CKPT",
        type=path_option,
        help="start from these weights: a checkpoint of mnas, an exported folder, or with ARCH a .ckpt of MindSpore "
        "under the names of mnas or MindCV. For other classes the classifier is drawn again",
    )
    parser.add_argument("--trial", metavar="N", type=int, help="trial of the run directory (default: the best)")
    parser.add_argument("--width", type=width_option, default=1.0, help="multiply every width of ARCH but the head's")
    parser.add_argument(
        "--recipe",
        required=True,
        type=name_or_path,
        help="how to train: name of a bundled recipe, or a YAML file of mnas or MindCV",
    )
    parser.add_argument(
        "--data", metavar="DIR", type=name_or_path, help="where the images are (default: as the recipe says)"
    )
    parser.add_argument(
        "--top",
        metavar="K",
        type=positive,
        help="train the K best networks of the run directory, several at a time, each on a core or an NPU",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        help="with --top: networks trained at a time (default: all that Ray has room for)",
    )
    parser.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="with --top: a Ray cluster to join (default: start Ray here)",
    )
    parser.add_argument("--run-dir", type=path_option, help="where the training is kept (default: runs/ARCH-RECIPE)")
    parser.add_argument("--cards", type=positive, default=1, help="devices of this machine to train on (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.top is not None:
        return run_top(arguments)
    if arguments.workers is not None or arguments.ray_address is not None:
        raise ConfigurationError("--workers and --ray-address are for --top; leave them out, or give --top K")
    recipe_path = find_recipe(arguments.recipe)
    recipe = load_recipe(recipe_path)
    if arguments.data is not None:
        recipe = recipe.with_data_directory(arguments.data)
    task = _task(arguments, recipe)
    directory = arguments.run_dir or Path("runs") / f"{task.name}-{recipe_path.stem}"
    stop_cleanly()
    try:
        if not is_one_of_several():  # whatever has started several processes checks once
            require_machine(recipe.device)
        if arguments.cards > 1:
            return _run_on_cards(arguments, directory, recipe.device)
        process = join_processes(recipe.compute)
        validated_on = "test" if recipe.validation is None else "validation"
        with retrain_progress(quiet=not process.is_first, validated_on=validated_on) as observer:
            result = _retrain(task, recipe, directory, observer, process)
    except KeyboardInterrupt as interrupt:
        print("mnas: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return interrupted(interrupt)
    if result is not None:
        _print_result(result, directory, as_json=arguments.json)
    return DONE


@dataclass(frozen=True)
class _Task:
    """What is trained.

    Attributes:
        architecture: The network; None for that of `init`.
        name: A short name for the run directory.
        init: The weights to start from; None draws them.
        child: The run and the trial that have kept these weights.
    """

    architecture: ArchitectureFile | None
    name: str
    init: Path | None = None
    child: tuple[Run, Trial] | None = None


def _task(arguments: argparse.Namespace, recipe: Recipe) -> _Task:
    if arguments.from_run is not None:
        return _child(arguments)
    init = arguments.init
    if init is not None and arguments.architecture is None and recipe.architecture is None:
        if arguments.trial is not None or arguments.width != 1.0:
            raise ConfigurationError("--trial and --width are those of ARCH; give it, too, or leave them out")
        return _Task(None, f"{init.resolve().parent.name}-{init.stem}-init", init)
    name, width = _what_to_train(arguments, recipe)
    file, short_name = _find(name, arguments.trial)
    scaled = "" if width == 1.0 else f"-{width:g}"
    architecture = replace(file, architecture=file.architecture.scaled(width))
    return _Task(architecture, f"{short_name}{scaled}{'' if init is None else '-init'}", init)


def _child(arguments: argparse.Namespace) -> _Task:
    """Return the training that starts from the child of a search."""
    for option, given in (
        ("ARCH", arguments.architecture is not None),
        ("--init", arguments.init is not None),
        ("--width", arguments.width != 1.0),
    ):
        if given:
            raise ConfigurationError(f"--from names the network and its weights; leave {option} out")
    if not is_run(Path(arguments.from_run)):
        raise ConfigurationError(f"--from: {arguments.from_run} is no run directory of a search; give one, or --init")
    source = find_source(arguments.from_run, arguments.trial)
    assert source.run is not None, "a run directory is a run"
    assert source.trial is not None, "a run has a trial"
    name = f"{Path(arguments.from_run).resolve().name}-trial{source.trial.id}-init"
    init = weights_file(source.run.directory, source.trial.id)
    return _Task(source.architecture, name, init, (source.run, source.trial))


def _retrain(
    task: _Task, recipe: Recipe, directory: Path, observer: RetrainObserver, process: Process
) -> RetrainResult | None:
    start = None
    if task.child is not None and not (directory / INIT_FILE).is_file():
        read_weights(*task.child)  # says which weights the run has kept, if not these
    if task.init is not None:
        start = find_starting_point(task.init, directory, task.architecture, recipe.compute)
    architecture = start.checkpoint.architecture if task.architecture is None and start else task.architecture
    assert architecture is not None, "a training has a network, or weights that tell it"
    return retrain(architecture, recipe, directory, observer, process, start)


def _what_to_train(arguments: argparse.Namespace, recipe: Recipe) -> tuple[str, float]:
    """Return the architecture's name or path, and its width."""
    if arguments.architecture is not None:
        return arguments.architecture, arguments.width
    if recipe.architecture is None:
        raise ConfigurationError(f"{arguments.recipe}: names no architecture; give ARCH, or `architecture:` in it")
    if arguments.width != 1.0:
        raise ConfigurationError("--width is that of ARCH; give both, or write `width:` in the recipe")
    return recipe.architecture, recipe.width


def _find(what: str, trial: int | None) -> tuple[ArchitectureFile, str]:
    """Return the architecture that a user names, and a short name for its run directory."""
    check_holds_no_weights(Path(what))
    if trial is None and not Path(what).is_dir():
        return find_architecture_file(what), Path(what).stem
    source = find_source(what, trial)
    # With the trial in its name, another best trial of a search that has gone on gets another directory.
    return source.architecture, f"{Path(what).resolve().name}-trial{source.trial.id if source.trial else ''}"


def _run_on_cards(arguments: argparse.Namespace, directory: Path, device: Device) -> int:
    same = [arguments.architecture] if arguments.architecture else []
    options = {
        "--from": arguments.from_run,
        "--init": arguments.init,
        "--trial": arguments.trial,
        "--width": arguments.width,
        "--recipe": arguments.recipe,
        "--data": arguments.data,
        "--run-dir": directory,
    }
    given = [str(part) for option, value in options.items() if value is not None for part in (option, value)]
    flags = ["--json"] if arguments.json else []
    return run_on_cards(arguments.cards, ["retrain", *same, *given, *flags], directory / PROCESSES_FOLDER, device)


def _print_result(result: RetrainResult, directory: Path, *, as_json: bool) -> None:
    accuracy, init = result.accuracy, result.init
    if as_json:
        validation = result.validation
        print_json(
            {
                "run": str(directory),
                "top1": accuracy.top1,
                "top5": accuracy.top5,
                "loss": accuracy.loss,
                "images": accuracy.images,
                "of_ema": accuracy.of_ema,
                "last": str(result.last),
                "best": [str(path) for path in result.best],
                "best_chosen_by": "test" if validation is None else "validation",
                "tested": str(result.tested),
                "validation": None if validation is None else {"top1": validation.top1, "images": validation.images},
                "init": None if init is None else {"path": init.path, "classifier_drawn": init.drawn or None},
            }
        )
        return
    when = "after the last step" if result.validation is None else "of the best epoch"
    of = "the moving average of the weights" if accuracy.of_ema else "the weights"
    print(f"top-1          {100 * accuracy.top1:.2f}% of {accuracy.images:,} test images, {of} {when}")
    print(f"top-5          {100 * accuracy.top5:.2f}%")
    print(f"loss           {accuracy.loss:.4f}")
    if (held_out := result.validation) is not None:
        print(f"validation     {100 * held_out.top1:.2f}% of {held_out.images:,} held-out training images")
    if init is not None:
        print(f"started from   {init.path}")
        if init.drawn:
            print(f"classifier     drawn again: {init.drawn}")
    print(f"checkpoint     {result.tested if held_out is not None else result.last}")
    if held_out is None:
        for path in result.best[:1]:
            print(f"best epoch     {path}, chosen by the test set: its accuracy is too good; `validation` in the")
            print("               recipe chooses by held-out training images")
    print(f"run directory  {directory}")
