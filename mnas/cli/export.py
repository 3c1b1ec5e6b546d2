"""`mnas export WHAT --out DIR`."""

from __future__ import annotations

import argparse

from mnas.bundled_files import find_recipe
from mnas.cli.errors import DONE
from mnas.cli.interrupt import stop_cleanly
from mnas.cli.options import name_or_path, path, positive, width
from mnas.cli.output import print_json
from mnas.cli.waiting import waiting_for
from mnas.export.folder import check_target, export
from mnas.export.recipe_file import recipe_for
from mnas.export.source import find_source
from mnas.export.subject import Adaptation, subject_of
from mnas.mindspore_setup import prepare_mindspore
from search_space import cost, fingerprint

_DESCRIPTION = """\
Write a self-contained folder of a network: architecture.yaml, ONNX, MindIR,
checkpoints, a model card and a diagram. The network is the best trial of a
search (or another with --trial), a reference network, or that of an
architecture.yaml. Without --checkpoint its weights are those that the search
has kept (search.keep_weights), else initial ones; the folder says which.
"""
_EPILOG = """\
examples:
  mnas export runs/cifar10 --recipe cifar10 --out export/found
  mnas export runs/cifar10 --checkpoint runs/final/last.safetensors \\
      --out export/final
  mnas export mnasnet-a1 --width 0.75 --out export/a1-075
  mnas export mnasnet-b1 --width 0.75 --checkpoint mnasnet_075.ckpt \\
      --out export/mindcv-075
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        type=name_or_path,
        help="run directory of a search, a reference network (mnasnet-a1, ...) or an architecture.yaml",
    )
    parser.add_argument("--out", metavar="DIR", type=path, required=True, help="the folder to write; must not exist")
    parser.add_argument("--trial", metavar="N", type=int, help="trial of the run (default: the best)")
    parser.add_argument("--width", type=width, default=1.0, help="multiply every width but the head's (default: 1.0)")
    parser.add_argument("--image-size", type=positive, help="height and width of the input (default: the source's)")
    parser.add_argument("--channels", type=positive, help="channels of the input (default: the source's)")
    parser.add_argument("--classes", type=positive, help="number of classes (default: the source's)")
    parser.add_argument(
        "--checkpoint",
        metavar="CKPT",
        type=path,
        help="its weights: a checkpoint of `mnas retrain`, or a .ckpt of MindSpore under the names of mnas or MindCV",
    )
    parser.add_argument(
        "--recipe",
        metavar="RECIPE",
        type=name_or_path,
        help="also write this recipe (a bundled name, or a YAML file of mnas or MindCV) with the image size and "
        "classes of the network; for a run also with the images of its search, and with epochs, batch size and moving "
        "averages fitted to their number",
    )
    parser.add_argument("--mindcv", action="store_true", help="also write a .ckpt under the names of MindCV's mnasnet")
    parser.add_argument("--force", action="store_true", help="replace the folder, if an export has written it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    check_target(arguments.out, force=arguments.force)
    adaptation = Adaptation(
        width=arguments.width,
        image_size=arguments.image_size,
        channels=arguments.channels,
        num_classes=arguments.classes,
    )
    source = find_source(arguments.what, arguments.trial)
    subject = subject_of(source, adaptation, arguments.checkpoint)
    notes = source.run.notes() if source.run is not None and arguments.trial is None else []
    form = subject.checkpoint.input
    recipe = None if arguments.recipe is None else recipe_for(find_recipe(arguments.recipe), source, form)
    # A stop removes the half-written folder. Only from here on: an interrupt in MindSpore's import crashes it.
    with waiting_for("loading MindSpore"):
        prepare_mindspore()
    stop_cleanly()
    with waiting_for("writing the network as ONNX, MindIR and checkpoints, and comparing them"):
        exported = export(subject, arguments.out, recipe=recipe, mindcv=arguments.mindcv, force=arguments.force)
    counted = cost(subject.network)
    weights = "trained" if subject.is_trained else "initial"
    if arguments.json:
        print_json(
            {
                "folder": str(exported.folder),
                "files": list(exported.files),
                "name": subject.name,
                "fingerprint": fingerprint(subject.checkpoint.architecture.architecture),
                "weights": weights,
                "weights_from": None if subject.weights_from is None else str(subject.weights_from),
                "image_size": form.image_size,
                "channels": form.channels,
                "num_classes": form.num_classes,
                "trainable_params": counted.trainable_params,
                "params": counted.params,
                "multiply_adds": counted.multiply_adds,
                "difference": exported.difference,
                "recipe": None if recipe is None else list(recipe.notes),
                "notes": notes,
            }
        )
        return DONE
    print(f"network        {subject.name}")
    said = f" ({subject.weights_from})" if subject.is_trained else " (not trained; give --checkpoint)"
    print(f"weights        {weights}{said}")
    if subject.is_child and (accuracy := subject.checkpoint.accuracy) is not None:
        print(f"               of the child of the search: {accuracy.top1:.2%} of {accuracy.images:,} held-out images")
    print(f"parameters     {counted.trainable_params:,}")
    print(f"multiply-adds  {counted.multiply_adds:,}")
    print(f"checked        ONNX and MindIR agree to {exported.difference:.1e} of the largest logit")
    print(f"written to     {exported.folder}: {', '.join(exported.files)}")
    for line, fitted in enumerate(() if recipe is None else recipe.notes):
        print(f"{'' if line else 'recipe':<15}{fitted}")
    for note in notes:
        print(note)
    return DONE
