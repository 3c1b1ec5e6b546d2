"""`mnas phones ...`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("phones", help="measure latency", description="Measure latency on phones.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    measure = verbs.add_parser(
        "measure",
        help="time an ONNX model",
        description="Time an ONNX model: one thread, batch 1, 50 runs after a warm-up; contention is detected.",
        epilog="example: mnas phones measure model.onnx --phone host --json",
    )
    measure.add_argument("model", metavar="MODEL.onnx", type=Path, help="the model to time")
    measure.add_argument("--phone", default="host", help="where: `host` is this machine (default: host)")
    measure.add_argument("--runs", type=int, default=50, help="timed runs (default: 50)")
    measure.add_argument("--json", action="store_true", help="print the whole record, raw runs included, as JSON")
    measure.set_defaults(run=run_measure)


def run_measure(arguments: argparse.Namespace) -> int:
    """Run `mnas phones measure`."""
    from latency import LatencyService, LeasedPhone, MeasurementSettings, RetryPolicy, create_phone, user_leases
    from mnas.cli.errors import DONE
    from mnas.cli.output import print_json
    from mnas.errors import ConfigurationError

    try:
        model = arguments.model.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{arguments.model}: cannot be read ({error.strerror}); give an ONNX file") from error
    try:
        settings = MeasurementSettings(runs=arguments.runs)
    except ValueError as error:
        raise ConfigurationError(f"--runs: {error}") from error
    phone = LeasedPhone(create_phone(arguments.phone), user_leases())
    try:
        # A machine can be unsteady for half a minute; that is worth waiting for.
        with LatencyService([phone], settings, retry=RetryPolicy(retries=8, quarantine_after=9)) as service:
            record = service.submit(model).result()
    finally:
        phone.close()
    if arguments.json:
        print_json({"latency_ms": record.latency_ms, **record.to_dict()})
        return DONE
    print(f"latency      {record.latency_ms:.4f} ms median of {len(record.wall_ms)} runs")
    print(f"spread       MAD {record.mad_ms:.4f} ms, p90 {record.p90_ms:.4f} ms, min {record.min_ms:.4f} ms")
    print(f"contention   {record.contention:.3f} wall/CPU")
    return DONE
