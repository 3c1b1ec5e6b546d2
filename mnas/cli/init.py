"""`mnas init`: an experiment to edit."""

from __future__ import annotations

import argparse

from mnas.cli.errors import DONE
from mnas.cli.options import name_or_path, path
from mnas.first_experiment import copy_experiment, write_experiment

_DESCRIPTION = """\
Write an experiment to edit: a copy of a bundled one, or, with --data, one for a
folder of your own images. With --data the number of classes, images and pixels
decide the search space, image size, training and number of trials; comments in
the file say why. A file that exists is never replaced.
"""
_EPILOG = """\
examples:
  mnas init                                # quickstart.yaml
  mnas init cifar10 --to my_search.yaml
  mnas init --data photos                  # photos/train/CLASS/*.jpg

bundled experiments: cifar10, imagenet_ascend, paper/cifar10_cell,
  paper/cifar10_cell_single, paper/cifar10_hard, paper/cifar10_soft,
  paper/imagenet_cell, paper/imagenet_cell_single, paper/imagenet_hard,
  paper/imagenet_soft, phone_quickstart, quickstart
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "init",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "name", metavar="NAME", nargs="?", type=name_or_path, help="bundled experiment to copy (default: quickstart)"
    )
    source.add_argument(
        "--data",
        metavar="DIR",
        type=name_or_path,
        help="your images: train/CLASS/* below this folder, or CIFAR-10's binary batches",
    )
    parser.add_argument("--to", metavar="FILE", type=path, help="file to write (default: NAME.yaml, or DIR's name)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.data is None:
        path = copy_experiment(arguments.name or "quickstart", arguments.to)
    else:
        path = write_experiment(arguments.data, arguments.to)
    print(f"written to     {path}")
    print(f"next           edit it, then: mnas search {path}")
    return DONE
