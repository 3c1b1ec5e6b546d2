"""`mnas space ...`."""

from __future__ import annotations

import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("space", help="look at search spaces", description="Look at search spaces.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="list the bundled search spaces", description="List the bundled spaces.")
    listing.set_defaults(run=run_list)
    describe = verbs.add_parser(
        "describe",
        help="show the decisions of a space and how many networks it has",
        description="Show every decision of a search space, its choices, and how many networks there are.",
    )
    describe.add_argument("space", metavar="SPACE", help="bundled name (`mnas space list`) or a YAML file")
    describe.add_argument("--json", action="store_true", help="print JSON")
    describe.set_defaults(run=run_describe)


def run_list(_: argparse.Namespace) -> int:
    """Run `mnas space list`."""
    from mnas.cli.errors import DONE
    from mnas.cli.output import print_table
    from search_space import SearchSpace

    spaces = [SearchSpace.load(name) for name in SearchSpace.names()]
    rows = [(space.name, len(space.decision_sizes), f"{space.cardinality:.2e}") for space in spaces]
    print_table(("space", "decisions", "architectures"), rows)
    return DONE


def run_describe(arguments: argparse.Namespace) -> int:
    """Run `mnas space describe`."""
    from mnas.cli.errors import DONE
    from mnas.cli.output import print_json, print_table
    from search_space import SearchSpace

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
