"""`mnas phones measure MODEL.onnx`."""

from __future__ import annotations

import argparse

from mnas.cli.errors import DONE
from mnas.cli.options import path, positive
from mnas.cli.output import print_json
from mnas.cli.phones.settings import add_option, changes
from mnas.cli.phones.waits import said_waits
from mnas.errors import ConfigurationError
from mnas.phone import Phone


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "measure",
        help="time an ONNX model",
        description="Time an ONNX model: one thread on one core, batch 1, after a warm-up. A disturbed measurement is "
        "detected and repeated, so a printed number can be trusted.",
        epilog="example: mnas phones measure model.onnx --phone pixel6 --json",
    )
    parser.add_argument("model", metavar="MODEL.onnx", type=path, help="the model to time")
    parser.add_argument("--phone", default="host", help="a phone that was added, or `host` (default)")
    parser.add_argument(
        "--runs", type=positive, help="timed runs in a session (default: 50, or as in the phone's profile)"
    )
    parser.add_argument("--sessions", type=positive, help="times the model is loaded again (default: 1)")
    add_option(parser, "for this measurement")
    parser.add_argument("--json", action="store_true", help="print the whole record, raw runs included, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    given = changes(arguments.set)
    for key in ("runs", "sessions"):
        if (value := getattr(arguments, key)) is None:
            continue
        if key in given:
            raise ConfigurationError(f"--{key} and --set {key}={given[key]}: give one of them")
        given[key] = value
    with said_waits() as waits, Phone(arguments.phone) as phone:
        waits.begin(f"timing {arguments.model} on {arguments.phone}")
        record = phone.measure(arguments.model, given)
    if arguments.json:
        print_json(record.to_dict())
        return DONE
    sessions = f" in {len(record.sessions)} sessions" if len(record.sessions) > 1 else ""
    print(f"latency      {record.latency_ms:.4f} ms median of {len(record.wall_ms)} runs{sessions}")
    print(f"spread       MAD {record.mad_ms:.4f} ms, p90 {record.p90_ms:.4f} ms, min {record.min_ms:.4f} ms")
    if record.contention is not None:
        print(f"contention   {record.contention:.3f} wall/CPU")
    return DONE
