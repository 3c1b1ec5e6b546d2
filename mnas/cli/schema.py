"""`mnas schema`: the JSON Schema of an experiment or a recipe, for editors."""

from __future__ import annotations

import argparse

from mnas.cli.errors import DONE
from mnas.cli.output import print_json
from mnas.document_schemas import experiment_schema, recipe_schema

_DESCRIPTION = """\
Print the JSON Schema of an experiment, or of a recipe. An editor with a YAML
language server (such as VS Code's YAML extension) completes and checks the keys
of a file whose first line names the schema:

  # yaml-language-server: $schema=experiment.schema.json

The name is relative to the YAML file, so that it works offline; bundled files
have this line.
"""
_EPILOG = """\
examples:
  mnas schema > experiment.schema.json     # in the folder of your experiment
  mnas schema --recipe > recipe.schema.json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "schema",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", action="store_true", help="of a recipe of `mnas retrain` instead")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    print_json(recipe_schema() if arguments.recipe else experiment_schema())
    return DONE
