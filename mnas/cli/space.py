"""`mnas space ...`."""

from __future__ import annotations

import argparse

import numpy as np

from mnas.cli.counted_progress import counted_progress
from mnas.cli.errors import DONE
from mnas.cli.options import name_or_path, positive, seed
from mnas.cli.output import number, print_json, print_table
from mnas.cli.phones.settings import add_option, changes
from mnas.data import ImageForm
from mnas.space_latency import random_architectures, time_architectures
from search_space import SearchSpace, architecture_to_dict

_QUANTILES = {"min": 0, "10%": 10, "25%": 25, "median": 50, "75%": 75, "90%": 90, "max": 100}
_LATENCY_DESCRIPTION = """\
Time random networks of a search space on a phone, so that a target latency
(`latency.target_ms`) can be chosen. Each network takes about a second.
"""
_LATENCY_EPILOG = """\
examples:
  mnas space latency small32 --phone pixel6 --count 20
  mnas space latency tiny16 --channels 1             # the digits of quickstart
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser("space", help=summary, description="Look at search spaces.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser(
        "list",
        help="list the bundled search spaces",
        description="List the bundled spaces.",
        epilog="example: mnas space list",
    )
    listing.set_defaults(run=run_list)
    describe = verbs.add_parser(
        "describe",
        help="show the decisions of a space and how many networks it has",
        description="Show every decision of a search space, its choices, and how many networks there are.",
        epilog="example: mnas space describe small32",
    )
    describe.add_argument(
        "space", metavar="SPACE", type=name_or_path, help="bundled name (`mnas space list`) or a YAML file"
    )
    describe.add_argument("--json", action="store_true", help="print JSON")
    describe.set_defaults(run=run_describe)
    latency = verbs.add_parser(
        "latency",
        help="time random networks of a space on a phone",
        description=_LATENCY_DESCRIPTION,
        epilog=_LATENCY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    latency.add_argument(
        "space", metavar="SPACE", type=name_or_path, help="bundled name (`mnas space list`) or a YAML file"
    )
    latency.add_argument("--phone", default="host", help="a phone that was added, or `host` (default)")
    latency.add_argument("--count", type=positive, default=20, help="how many networks (default: 20)")
    latency.add_argument("--image-size", type=positive, help="height and width of the input (default: the space's)")
    latency.add_argument("--channels", type=positive, default=3, help="channels of the input (default: 3)")
    latency.add_argument("--classes", type=positive, default=10, help="number of classes (default: 10)")
    latency.add_argument("--seed", type=seed, default=0, help="chooses the networks (default: 0)")
    add_option(latency, "for these measurements")
    latency.add_argument("--json", action="store_true", help="print every latency, as JSON")
    latency.set_defaults(run=run_latency)


def run_list(_: argparse.Namespace) -> int:
    """Run `mnas space list`."""
    spaces = [SearchSpace.load(name) for name in SearchSpace.names()]
    rows = [(space.name, len(space.decision_sizes), f"{space.cardinality:.2e}") for space in spaces]
    print_table(("space", "decisions", "architectures"), rows)
    return DONE


def run_describe(arguments: argparse.Namespace) -> int:
    """Run `mnas space describe`."""
    space = SearchSpace.load(arguments.space)
    if arguments.json:
        print_json(
            {
                "name": space.name,
                "cardinality": space.cardinality,
                "image_size": space.image_size,
                "decisions": [
                    {"name": decision.name, "choices": list(decision.choices)} for decision in space.decisions
                ],
            }
        )
        return DONE
    print(f"{space.name}: {space.cardinality:,} architectures, {len(space.decisions)} decisions")
    rows = [(decision.name, ", ".join(str(choice) for choice in decision.choices)) for decision in space.decisions]
    print_table(("decision", "choices"), rows)
    return DONE


def run_latency(arguments: argparse.Namespace) -> int:
    """Run `mnas space latency`."""
    space = SearchSpace.load(arguments.space)
    image_size = arguments.image_size or space.image_size
    architectures = random_architectures(space, arguments.count, arguments.seed)
    form = ImageForm(image_size, arguments.channels, arguments.classes)
    records = time_architectures(architectures, arguments.phone, form, changes(arguments.set))
    latencies_ms = []
    with counted_progress("networks timed", len(architectures)) as on_done:
        for record in records:
            latencies_ms.append(record.latency_ms)
            on_done(len(latencies_ms))
    quantiles_ms = {name: float(np.percentile(latencies_ms, percent)) for name, percent in _QUANTILES.items()}
    if arguments.json:
        timed = zip(architectures, latencies_ms, strict=True)
        print_json(
            {
                "space": space.name,
                "phone": arguments.phone,
                "image_size": image_size,
                "quantiles_ms": quantiles_ms,
                "networks": [
                    {"latency_ms": latency_ms, "architecture": architecture_to_dict(architecture)}
                    for architecture, latency_ms in timed
                ],
            }
        )
        return DONE
    print(f"{len(latencies_ms)} random networks of {space.name} at {image_size} pixels on {arguments.phone}:")
    rows = [(name, number(latency_ms, 4)) for name, latency_ms in quantiles_ms.items()]
    print_table(("quantile", "latency_ms"), rows)
    print(f"A target near the middle tells networks apart: latency: {{target_ms: {quantiles_ms['median']:.2g}}}")
    return DONE
