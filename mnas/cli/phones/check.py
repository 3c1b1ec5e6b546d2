"""`mnas phones check NAME`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from latency.android.checkup import check_phone
from latency.android.profile import read_profile
from mnas.cli.errors import DONE, FAILED
from mnas.cli.output import print_json
from mnas.cli.phones.waits import said_waits


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "check",
        help="see whether a phone is fit to measure",
        description="Look at everything that a measurement needs, line by line, with the remedy for a line that fails. "
        "The exit code is 1 if any line fails.",
        epilog="example: mnas phones check pixel6",
    )
    parser.add_argument("name", metavar="NAME", help="a phone that was added")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    profile = read_profile(arguments.name)
    passed = True
    answers = []
    with said_waits() as waits:
        for unit in profile.units:
            if not arguments.json:
                print(f"{profile.name}, device {unit.serial}")
            for check in check_phone(profile, unit, waits.begin):
                waits.over()
                passed = passed and check.passed
                answers.append({"device": unit.serial, **asdict(check)})
                if not arguments.json:
                    print(f"  {'pass' if check.passed else 'FAIL'}  {check.name:<13} {check.detail}", flush=True)
                    if not check.passed:
                        print(f"        {'':<13} {check.remedy}")
    if arguments.json:
        print_json({"passed": passed, "checks": answers})
    return DONE if passed else FAILED
