"""`mnas plan EXPERIMENT`."""

from __future__ import annotations

import argparse

from mnas.cli.errors import DONE
from mnas.cli.options import add_experiment, path, positive, positive_number
from mnas.cli.output import print_json
from mnas.documents.foreign_text import printable
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment
from mnas.search.forecast import (
    Forecast,
    GivenTimes,
    estimated_workload,
    forecast,
    hours_text,
    planned_workers,
    workload_of_run,
)
from mnas.search.run import Run

_DESCRIPTION = """\
Say how long a search will take, what limits it, and what more workers or
phones would change. The search is simulated: the real controller, scheduler
and store, with workers and phones that only take time. How long a child and a
measurement take comes from an earlier run (--like), from the options, or from
a rough estimate.
"""
_EPILOG = """\
examples:
  mnas plan quickstart --workers 2
  mnas plan my_search.yaml --like runs/my_search --workers 16
  mnas plan cifar10 --workers 64 --phones 2 --child-s 60 --measure-s 5
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plan",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_experiment(parser)
    parser.add_argument("--workers", type=positive, help="children that train at a time (default: the experiment's)")
    parser.add_argument("--phones", type=positive, default=1, help="phones that measure (default: 1)")
    parser.add_argument("--like", metavar="RUN", type=path, help="take the times of this run")
    parser.add_argument("--child-s", type=positive_number, help="mean time of a child, compilation included; seconds")
    parser.add_argument("--compile-s", type=positive_number, help="its compilation; seconds")
    parser.add_argument("--measure-s", type=positive_number, help="mean time of a measurement; seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    given = GivenTimes(arguments.child_s, arguments.compile_s, arguments.measure_s)
    if arguments.like is not None and given != GivenTimes():
        raise ConfigurationError("--like takes all times of a run; leave out --child-s, --compile-s and --measure-s")
    experiment = Experiment.load(arguments.experiment)
    workers = arguments.workers or planned_workers(experiment)
    if arguments.like is None:
        load, source = estimated_workload(experiment, given)
    else:
        load, source = workload_of_run(Run.open(arguments.like)), f"the times of {printable(str(arguments.like))}"
    found = forecast(experiment, workers, arguments.phones, load, source)
    if arguments.json:
        print_json(found.to_dict())
    else:
        _print(found)
    return DONE


def _print(found: Forecast) -> None:
    print(f"{found.trials} trials, {found.workers} workers, {found.phones} phone{'s' if found.phones > 1 else ''}")
    print(f"times          child {found.child_s:.3g} s, measurement {found.measure_s:.3g} s ({found.source})")
    finals = f", {hours_text(found.finals_s / 3600)} for the finalists" if found.finals_s else ""
    around = f"{found.overhead_s:.3g} s of it before the first trial and after the last"
    print(f"duration       {hours_text(found.hours)}, {around}{finals}")
    print(f"workers        {hours_text(found.device_hours)} of training; busy {found.workers_busy:.1%} of the time")
    print(f"phones         {hours_text(found.phone_hours)} of measuring; busy {found.phones_busy:.1%} of the time")
    if found.stopped_share:
        print(f"stopped early  {found.stopped_share:.0%} of the trials, roughly")
    print(f"driver         {found.driver_ms:.1f} ms of CPU time for a trial")
    print(f"limited by     {_LIMITS[found.bottleneck].format(enough=found.phones_enough)}")
    for other in found.alternatives:
        change = other.hours / found.hours - 1
        print(f"{'':<15}{other.workers} workers, {other.phones} phones: {hours_text(other.hours)} ({change:+.0%})")


_LIMITS = {
    "workers": "the workers; the phones keep up",
    "phones": "the phones: {enough} would keep the workers busy",
    "schedule": "the schedule: in synchronous batches, workers wait for the slowest child",
    "driver": "the driver: it takes longer for a trial than the workers together",
}
