"""`mnas phones measure MODEL.onnx`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latency.measurement.input_shapes import parse_shape
from mnas.cli.errors import DONE
from mnas.cli.options import path, positive
from mnas.cli.output import print_json
from mnas.cli.phones.settings import add_option, changes
from mnas.cli.phones.waits import said_waits
from mnas.documents.foreign_text import printable
from mnas.errors import ConfigurationError
from mnas.phone import Phone


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "measure",
        help="time an ONNX model",
        description="Time an ONNX model: one thread on one core, batch 1 unless the model fixes\n"
        "another, after a warm-up. A disturbed measurement is detected and repeated, so a\n"
        "printed number can be trusted.",
        epilog="examples:\n  mnas phones measure model.onnx --phone pixel6 --json\n"
        "  mnas phones measure model.onnx --shape input=1,3,224,224",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL.onnx", type=path, help="the model to time")
    parser.add_argument("--phone", default="host", help="a phone that was added, or `host` (default)")
    parser.add_argument(
        "--runs", type=positive, help="timed runs in a session (default: 50, or as in the phone's profile)"
    )
    parser.add_argument("--sessions", type=positive, help="times the model is loaded again (default: 1)")
    parser.add_argument(
        "--shape",
        metavar="INPUT=SIZES",
        action="append",
        default=[],
        help="shape of an input with open dimensions, as in --shape input=1,3,224,224 (an open batch is 1)",
    )
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
        record = phone.measure(arguments.model, given, shapes=_shapes(arguments.shape))
    if arguments.json:
        print_json(record.to_dict())
        return DONE
    sessions = f" in {len(record.sessions)} sessions" if len(record.sessions) > 1 else ""
    print(f"latency      {record.latency_ms:.4f} ms median of {len(record.wall_ms)} runs{sessions}")
    print(f"spread       MAD {record.mad_ms:.4f} ms, p90 {record.p90_ms:.4f} ms, min {record.min_ms:.4f} ms")
    if record.contention is not None:
        print(f"contention   {record.contention:.3f} wall/CPU")
    inputs = ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in record.input_shapes.items())
    print(printable(f"inputs       {inputs or 'none'}"))
    if (check := record.output_check) is not None and check.difference is not None:
        limit = f"at most {check.tolerance:g} for {check.numbers}"
        print(f"output       differs from this host's by {check.difference:.1e} ({limit})")
    for flag in record.flags:
        print(f"note         {flag}")
    return DONE


def _shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    try:
        return dict(parse_shape(text) for text in texts)
    except ValueError as error:
        raise ConfigurationError(f"--shape {error}") from error
