"""`mnas audit EXPERIMENT`."""

from __future__ import annotations

import argparse
import shlex
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

from mnas.audit.advice import exponents
from mnas.audit.audit import LOG_FILE, Audit, run_audit
from mnas.audit.findings import Findings
from mnas.audit.parts import NETWORKS, SEEDS, AuditPlan, Part, audit_plan
from mnas.audit.statistics import RankCorrelation
from mnas.bundled_files import find_experiment
from mnas.cli.errors import DONE, interrupted
from mnas.cli.interrupt import stop_cleanly
from mnas.cli.options import add_experiment, path, positive
from mnas.cli.output import LateFile, print_json, print_table
from mnas.cli.progress import SearchProgress, search_progress
from mnas.cli.search import change, options_named
from mnas.documents.foreign_text import printable
from mnas.experiment import Experiment
from mnas.search.driver import Progress
from mnas.search.forecast import hours_text
from mnas.search.trial import Trial

_WIDTH = 100
_DESCRIPTION = """\
Find out, before a search is paid for, how far its numbers can be trusted: the
noise of accuracies and latencies, how well cheaper trainings (fewer epochs,
fewer images, smaller images) rank the networks, how long the search will take,
and what its reward prefers. Networks spread over the space are trained with
several seeds. The same command goes on with an audit that was stopped.
"""
_EPILOG = """\
examples:
  mnas audit quickstart
  mnas audit my_search.yaml --networks 20 --seeds 4 --run-dir runs/my-audit
  mnas audit quickstart --set training.epochs=3 --json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "audit",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_experiment(parser)
    parser.add_argument(
        "--networks", type=positive, default=NETWORKS, help=f"how many networks are trained (default: {NETWORKS})"
    )
    parser.add_argument(
        "--seeds", type=positive, default=SEEDS, help=f"full trainings of each network (default: {SEEDS})"
    )
    parser.add_argument(
        "--run-dir", type=path, help="where its searches are kept (default: runs/, the experiment's name and -audit)"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a value of the experiment, as in --set training.epochs=3; again for more",
    )
    parser.add_argument("--plan", action="store_true", help="say what the audit would cost, and do nothing")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    path = find_experiment(arguments.experiment)
    experiment = Experiment.load(path)
    directory = arguments.run_dir or Path("runs") / f"{path.stem}-audit"
    changes = dict(change(text) for text in arguments.set)
    with options_named(changes):
        if changes:
            experiment = experiment.changed(changes)
        plan = audit_plan(experiment, arguments.networks, arguments.seeds)
    if arguments.plan:
        print(cost_text(plan))
        return DONE
    stop_cleanly()
    try:
        # Ray prints what happens to its workers on standard output, which is for the answer alone.
        with audit_progress() as progress, redirect_stdout(LateFile(directory / LOG_FILE)):
            audit = run_audit(plan, directory, progress)
    except KeyboardInterrupt as interrupt:
        print(f"mnas: stopped; nothing is lost. To go on: {printable(_same_command(arguments))}", file=sys.stderr)
        return interrupted(interrupt)
    if arguments.json:
        print_json(audit.to_dict())
    else:
        _print(audit)
    return DONE


def _same_command(arguments: argparse.Namespace) -> str:
    run_dir = ["--run-dir", str(arguments.run_dir)] if arguments.run_dir else []
    changes = [word for text in arguments.set for word in ("--set", text)]
    size = ["--networks", str(arguments.networks), "--seeds", str(arguments.seeds)]
    return shlex.join(["mnas", "audit", arguments.experiment, *size, *run_dir, *changes])


class AuditProgress:
    """Says what an audit will cost and which of its searches begins, and shows the progress of each."""

    def __init__(self) -> None:
        self._shown = ExitStack()
        self._search: SearchProgress | None = None
        self._parts: list[str] = []

    def audit_started(self, plan: AuditPlan) -> None:
        """Print what the audit will cost."""
        self._parts = [part.name for part in plan.parts]
        print(f"mnas: {cost_text(plan)}", file=sys.stderr)

    def part_started(self, part: Part) -> None:
        """Print which search begins, and start its progress."""
        self._shown.close()
        what = "the experiment's training" if part.cheaper is None else str(part.cheaper)
        number = self._parts.index(part.name) + 1
        print(f"mnas: search {number} of {len(self._parts)}, {part.name}: {what}", file=sys.stderr)
        self._search = self._shown.enter_context(search_progress(part.experiment.training))

    def trial_finished(self, trial: Trial) -> None:
        """Print one line about a trial."""
        if self._search is not None:
            self._search.trial_finished(trial)

    def progress(self, progress: Progress) -> None:
        """Update the bar."""
        if self._search is not None:
            self._search.progress(progress)

    def close(self) -> None:
        """End the progress of the last search."""
        self._shown.close()


@contextmanager
def audit_progress() -> Iterator[AuditProgress]:
    """Show the progress of an audit for as long as the context lasts."""
    progress = AuditProgress()
    try:
        yield progress
    finally:
        progress.close()


def cost_text(plan: AuditPlan) -> str:
    """Return what an audit will cost, for people."""
    seeds = sum(part.cheaper is None for part in plan.parts)
    cheaper = len(plan.parts) - seeds
    return (
        f"{len(plan.networks)} networks: {len(plan.networks) * seeds} full trainings with {seeds} seeds, each with a "
        f"measurement, and {len(plan.networks) * cheaper} cheaper trainings; about {hours_text(plan.device_hours)} of "
        f"training on {plan.workers} workers (a rough estimate), and {len(plan.parts)} starts of the workers"
    )


def _print(audit: Audit) -> None:
    found = audit.findings
    _print_noise(found)
    print()
    _print_proxies(found)
    print()
    _print_rewards(found)
    print()
    for sentence in audit.advice:
        print(textwrap.fill(sentence, _WIDTH, initial_indent="- ", subsequent_indent="  "))


def _print_noise(found: Findings) -> None:
    accuracies = [network.accuracy for network in found.networks]
    latencies_ms = [network.latency_ms for network in found.networks]
    search = found.forecast
    print(f"networks       {len(found.networks)}, each trained with {found.seeds} seeds")
    for number, reason in found.failed.items():
        print(f"failed         network {number}: {printable(reason)}")
    print(
        f"accuracy       {min(accuracies):.4f} to {max(accuracies):.4f}; standard deviation {found.accuracy.noise:.4f} "
        f"between seeds, {found.accuracy.between:.4f} between networks"
    )
    print(f"by epoch       {' '.join(f'{accuracy:.3f}' for accuracy in found.curve)} (mean of all)")
    print(
        f"latency        {min(latencies_ms):.4g} to {max(latencies_ms):.4g} ms; noise {found.latency.noise:.1%}; "
        f"{found.within_target} of {len(found.networks)} meet the target of {found.target_ms:g} ms"
    )
    print(
        f"times          child {search.child_s:.3g} s, measurement {search.measure_s:.3g} s, start and end of a search "
        f"{search.overhead_s:.3g} s"
    )
    print(
        f"whole search   {search.trials} trials in {hours_text(search.hours)} on {search.workers} workers, "
        f"{hours_text(search.device_hours)} of training; {found.children_per_hour:.0f} children an hour"
    )


def _print_proxies(found: Findings) -> None:
    rows = [["the full training", "100%", *_order(found.full_training)]]
    rows += [[proxy.change, f"{proxy.cost:.0%}", *_order(proxy.order)] for proxy in found.proxies]
    print_table(["ranked by", "time", "tau", "95% interval"], rows)


def _order(order: RankCorrelation) -> tuple[str, str]:
    return f"{order.tau:.2f}", f"{order.low:.2f} to {order.high:.2f}"


def _print_rewards(found: Findings) -> None:
    rows = []
    for effect in found.reward_effects:
        best = found.network(effect.best)
        rows.append(
            [
                exponents(effect) + (" (the experiment's)" if effect.own else ""),
                str(best.number),
                f"{best.accuracy:.4f}",
                f"{best.latency_ms:.4g}",
                f"{effect.tau_accuracy:.2f}",
                f"{effect.tau_speed:.2f}",
            ]
        )
    print_table(["reward", "best", "accuracy", "latency_ms", "tau with accuracy", "tau with speed"], rows)
