"""`mnas phones list`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import Any

from latency.adb import Address, discover
from latency.android.profile import profile_names, read_profile
from mnas.cli.errors import DONE
from mnas.cli.output import print_json, print_table
from mnas.cli.phones.address import tcp_address


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "list",
        help="what is attached, and what was added",
        description="List what is attached over USB, known to this host's adb server, or was added before, "
        "with its state and what to do about it.",
        epilog="example: mnas phones list --tcp 192.168.1.7:5555",
    )
    parser.add_argument("--tcp", metavar="HOST:PORT", action="append", default=[], help="look here, too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    names = {unit.address: name for name in profile_names() for unit in read_profile(name).units}
    asked = [tcp_address(text) for text in arguments.tcp]
    known = [Address.parse(text) for text in names if text.startswith("tcp:")]
    found = discover(list(dict.fromkeys([*asked, *known])))
    rows: list[dict[str, Any]] = [
        {
            "address": str(attached.address),
            "also": [str(address) for address in attached.also],
            "name": next((names[str(each)] for each in (attached.address, *attached.also) if str(each) in names), None),
            "state": attached.state,
            "model": attached.model,
            "remedy": attached.remedy,
        }
        for attached in found
    ]
    away = sorted(set(names) - {str(each) for attached in found for each in (attached.address, *attached.also)})
    rows += [
        {
            "address": address,
            "also": [],
            "name": names[address],
            "state": "not attached",
            "model": None,
            "remedy": "connect it",
        }
        for address in away
    ]
    if arguments.json:
        print_json({"phones": rows})
    elif rows:
        print_table(
            ("address", "name", "state", "model", "what to do"),
            [
                (row["address"], row["name"] or "-", row["state"], row["model"] or "-", row["remedy"] or _next(row))
                for row in rows
            ],
        )
    else:
        print(
            "no phone is attached. Switch on USB debugging (Settings, Developer options) and connect the cable, or "
            "give an address: --tcp HOST:PORT"
        )
    return DONE


def _next(row: Mapping[str, Any]) -> str:
    also = f"; also at {', '.join(row['also'])}" if row["also"] else ""
    if row["name"]:
        return f"ready to measure{also}"
    via, _, target = str(row["address"]).partition(":")
    return f"mnas phones add NAME {'--tcp' if via == 'tcp' else '--serial'} {shlex.quote(target)}{also}"
