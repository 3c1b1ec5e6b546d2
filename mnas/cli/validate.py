"""`mnas validate MODEL --data DIR`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mnas.checkpoints.foreign import check_holds_no_weights
from mnas.checkpoints.mindspore import MINDSPORE_SUFFIX
from mnas.cli.counted_progress import counted_progress
from mnas.cli.errors import DONE, FAILED
from mnas.cli.options import name_or_path, path, percent, positive, target_percent, width
from mnas.cli.output import print_json
from mnas.cli.waiting import waiting_for
from mnas.data import load_images
from mnas.documents.foreign_text import printable
from mnas.errors import ConfigurationError
from mnas.evaluation.accuracy import Evaluation
from mnas.machine.check import require_machine
from mnas.mindspore_setup import Compute
from mnas.search.run_directory import is_run
from mnas.search.trial import Trial
from mnas.validation import Model, Target, evaluate_model, open_model, open_trial, reward_images
from search_space import ArchitectureFile, cost, find_architecture_file

_DESCRIPTION = """\
Measure the accuracy of a checkpoint, or of a folder that `mnas export` has
written, on a test set; with --target-top1, say whether it reaches a target.
A run directory of a search gives the weights that it has kept of its best
trial (search.keep_weights), by default on the images of its reward.
Images are prepared as the checkpoint says, that of a .ckpt as the architecture
file says (lineage.input), else as MindCV does (ImageNet's normalisation; the
central 87.5% of images of 96 pixels and more).
"""
_EPILOG = """\
examples:
  mnas validate export/final --data data/cifar10
  mnas validate export/final --data imagenet --target-top1 71.77 --tolerance 0.1
  mnas validate runs/cifar10 --trial 12
  mnas validate mnasnet_075.ckpt --arch mnasnet-b1 --width 0.75 \\
      --data imagenet --engine onnx

Exit codes: 0 done, and the target is met if one was given; 1 it is missed; 2
wrong usage or input.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "validate",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=path,
        help="a checkpoint of mnas or MindSpore (.ckpt), an exported folder, or the run directory of a search",
    )
    parser.add_argument("--trial", metavar="N", type=int, help="trial of the run directory (default: the best)")
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=name_or_path,
        help="the images: a folder with test/CLASS/* or val/CLASS/*, one with CIFAR-10's binary batches, `digits`, or "
        "your own function, package.module:function (default: for a run, those of its reward)",
    )
    parser.add_argument(
        "--test-folder", metavar="NAME", type=name_or_path, help="its folder of test images (default: test or val)"
    )
    parser.add_argument(
        "--arch",
        type=name_or_path,
        help="the network: a reference or an architecture.yaml; needed for a .ckpt, else checked",
    )
    parser.add_argument("--width", type=width, help="width of --arch (default: 1.0)")
    parser.add_argument(
        "--image-size", type=positive, help="input of a .ckpt's network (default: as --arch records, else 224)"
    )
    parser.add_argument(
        "--engine",
        choices=("mindspore", "onnx"),
        help="what computes: MindSpore, or onnxruntime with the exported model (default: mindspore; for a run, what "
        "its search has computed with)",
    )
    parser.add_argument(
        "--device", choices=("CPU", "Ascend"), default="CPU", help="where MindSpore computes (default: CPU)"
    )
    parser.add_argument("--batch-size", type=positive, default=64, help="images at a time (default: 64)")
    parser.add_argument(
        "--target-top1", metavar="PERCENT", type=target_percent, help="the top-1 accuracy to reach, such as 64.5"
    )
    parser.add_argument(
        "--tolerance",
        metavar="POINTS",
        type=percent,
        help="by how many percentage points it may be missed (default: 0.1)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.engine == "onnx" and arguments.device != "CPU":
        raise ConfigurationError("--engine onnx computes on the CPU; leave --device out, or use --engine mindspore")
    if arguments.tolerance is not None and arguments.target_top1 is None:
        raise ConfigurationError("--tolerance: is that of --target-top1; give --target-top1, too")
    if arguments.image_size is not None and arguments.model.suffix != MINDSPORE_SUFFIX:
        raise ConfigurationError(
            f"--image-size: {arguments.model} has its own input, which only a {MINDSPORE_SUFFIX} has not; leave it out"
        )
    of_run = is_run(arguments.model)
    if arguments.engine is None and not of_run:
        arguments.engine = "mindspore"
    if arguments.data is None:
        if not of_run:
            raise ConfigurationError("--data: names the images to validate on; give it")
        if arguments.test_folder is not None:
            raise ConfigurationError("--test-folder: is that of --data; give --data, too")
    require_machine(arguments.device)
    run, trial = None, None
    if of_run:
        if arguments.arch is not None:
            raise ConfigurationError("--arch: a run has its own networks; leave it out")
        model, run, trial = open_trial(arguments.model, arguments.trial)
    elif arguments.trial is not None:
        raise ConfigurationError(f"--trial: {arguments.model} is no run directory, and only a run has trials")
    else:
        model = open_model(arguments.model, _architecture(arguments), arguments.image_size)
    with waiting_for("loading the images"):
        if run is None or arguments.data is not None:
            source = load_images(arguments.data, model.checkpoint.input, arguments.test_folder)
        else:
            source = reward_images(run)
    with counted_progress("images", len(source)) as on_batch:
        evaluation = evaluate_model(
            model,
            source,
            engine=arguments.engine,
            batch_size=arguments.batch_size,
            compute=Compute(arguments.device),
            on_batch=on_batch,
        )
    target = None if arguments.target_top1 is None else Target(arguments.target_top1, _tolerance(arguments))
    if arguments.json:
        _print_json(arguments, model, evaluation, target, trial)
    else:
        _print_lines(model, evaluation)
        if trial is not None:
            print(f"in the search  {trial.accuracy:.2%} of its reward images")
    if target is None:
        return DONE
    verdict = _verdict(target, evaluation)
    if not arguments.json:
        print(f"target         {verdict}")
    if target.is_met(evaluation):
        return DONE
    print(f"mnas: {printable(arguments.model)}: {verdict}", file=sys.stderr)
    return FAILED


def _architecture(arguments: argparse.Namespace) -> ArchitectureFile | None:

    if arguments.arch is None:
        if arguments.width is not None:
            raise ConfigurationError("--width: is that of --arch; give --arch, too")
        return None
    check_holds_no_weights(Path(arguments.arch))
    file = find_architecture_file(arguments.arch)
    scale = arguments.width or 1.0
    scaled = "" if scale == 1 else f" x{scale:g}"
    return replace(file, architecture=file.architecture.scaled(scale), name=f"{file.name}{scaled}")


def _tolerance(arguments: argparse.Namespace) -> float:
    return Target.tolerance if arguments.tolerance is None else float(arguments.tolerance)


def _verdict(target: Target, evaluation: Evaluation) -> str:
    wanted = f"top-1 {target.top1_percent:g}%, tolerance {target.tolerance:g} points"
    shortfall = target.shortfall(evaluation)
    if not target.is_met(evaluation):
        return f"missed by {shortfall:.2f} points: top-1 is {evaluation.top1:.2%} ({wanted})"
    return f"met, {abs(shortfall):.2f} points {'below' if shortfall > 0 else 'above'} ({wanted})"


def _print_lines(model: Model, evaluation: Evaluation) -> None:

    counted = cost(model.checkpoint.network())
    print(f"network        {model.checkpoint.architecture.name or '-'}")
    print(f"top-1          {evaluation.top1:.2%} of {evaluation.images:,} images")
    print(f"top-5          {evaluation.top5:.2%}")
    print(f"loss           {evaluation.loss:.4f}")
    print(f"parameters     {counted.trainable_params:,} ({counted.params:,} with batch-norm statistics)")
    print(f"multiply-adds  {counted.multiply_adds:,}")


def _print_json(
    arguments: argparse.Namespace, model: Model, evaluation: Evaluation, target: Target | None, trial: Trial | None
) -> None:

    counted = cost(model.checkpoint.network())
    print_json(
        {
            "model": str(arguments.model),
            "network": model.checkpoint.architecture.name,
            "trial": trial and {"id": trial.id, "accuracy": trial.accuracy},
            "data": arguments.data,
            "engine": arguments.engine,
            "images": evaluation.images,
            "top1": evaluation.top1,
            "top5": evaluation.top5,
            "loss": evaluation.loss,
            "trainable_params": counted.trainable_params,
            "params": counted.params,
            "multiply_adds": counted.multiply_adds,
            "target": target
            and {
                "top1_percent": target.top1_percent,
                "tolerance": target.tolerance,
                "met": target.is_met(evaluation),
                "shortfall": target.shortfall(evaluation),
            },
        }
    )
