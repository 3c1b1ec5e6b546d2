"""`mnas arch ...`."""

from __future__ import annotations

import argparse

from mnas.cli.errors import DONE
from mnas.cli.options import name_or_path, positive, width
from mnas.cli.output import print_json
from search_space import architecture_to_dict, cost, find_architecture, fingerprint, format_block, lower


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser("arch", help=summary, description="Look at architectures.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    describe = verbs.add_parser(
        "describe",
        help="count the parameters and multiply-adds of an architecture",
        description="Show an architecture's blocks and count its parameters and multiply-adds.",
        epilog="example: mnas arch describe mnasnet-b1 --width 0.75 --json",
    )
    describe.add_argument(
        "architecture",
        metavar="ARCH",
        type=name_or_path,
        help="a reference (mnasnet-a1, mnasnet-b1, ...) or an architecture.yaml",
    )
    describe.add_argument("--width", type=width, default=1.0, help="multiply every width but the head's (default: 1.0)")
    describe.add_argument(
        "--image-size", type=positive, default=224, help="height and width of the input (default: 224)"
    )
    describe.add_argument("--channels", type=positive, default=3, help="channels of the input (default: 3)")
    describe.add_argument("--classes", type=positive, default=1000, help="number of classes (default: 1000)")
    describe.add_argument("--json", action="store_true", help="print JSON")
    describe.set_defaults(run=run_describe)


def run_describe(arguments: argparse.Namespace) -> int:
    """Run `mnas arch describe`."""
    architecture = find_architecture(arguments.architecture).scaled(arguments.width)
    network = lower(
        architecture,
        image_size=arguments.image_size,
        channels=arguments.channels,
        num_classes=arguments.classes,
    )
    counted = cost(network)
    if arguments.json:
        print_json(
            {
                "architecture": architecture_to_dict(architecture),
                "fingerprint": fingerprint(architecture),
                "width": arguments.width,
                "image_size": arguments.image_size,
                "channels": arguments.channels,
                "num_classes": arguments.classes,
                "trainable_params": counted.trainable_params,
                "params": counted.params,
                "multiply_adds": counted.multiply_adds,
            }
        )
        return DONE
    print(f"stem            {architecture.stem_filters} filters")
    for block in architecture.blocks:
        print(f"block           {format_block(block)}")
    print(f"head            {architecture.head_filters} filters")
    print(f"parameters      {counted.trainable_params:,} trainable, {counted.params:,} with batch-norm statistics")
    print(f"multiply-adds   {counted.multiply_adds:,} at {arguments.image_size} pixels")
    print(f"fingerprint     {fingerprint(architecture)}")
    return DONE
