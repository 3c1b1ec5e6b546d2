"""`mnas show RUN`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from mnas.cli.best import accuracy_text
from mnas.cli.errors import DONE
from mnas.cli.options import path, positive
from mnas.cli.output import number, print_json_with_list, table_lines, trial_to_dict
from mnas.documents.foreign_text import printable
from mnas.search.halving import stopped_text
from mnas.search.pareto import pareto_front
from mnas.search.ranking import Noise, digits, reward_error
from mnas.search.run import Run
from mnas.search.selection import ORDERS, ended_since, in_order, moment
from mnas.search.trial import Trial

_DESCRIPTION = """\
Show the trials of a run, finished or not, also while it is searched; the best
is marked with *. On a terminal, lines are cut to its width.
"""
_EPILOG = """\
examples:
  mnas show runs/quickstart
  mnas show runs/quickstart --best 5
  mnas show runs/quickstart --pareto
  mnas show runs/quickstart --failed --since 2h
  mnas show runs/quickstart --sort latency --watch
"""
_POLL_S = 1.0
# A pending trial and what names it fit next to the table in a window of this height.
_FRAME_LINES = 4


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "show",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_directory", metavar="RUN", type=path, help="run directory of a search")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--best", metavar="N", type=positive, help="the N trials of highest reward, without repeats")
    which.add_argument("--failed", action="store_true", help="the trials that failed")
    which.add_argument(
        "--pareto", action="store_true", help="the trials that no other one beats in both accuracy and latency"
    )
    parser.add_argument(
        "--since", metavar="TIME", help="the trials that ended since then: 90m, 2h, 1d ago, or a time (ISO 8601, UTC)"
    )
    parser.add_argument("--sort", choices=tuple(ORDERS), help="the order (default: trial)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="show it again when it changes, until Ctrl-C")
    how.add_argument("--json", action="store_true", help="print everything that is stored, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    opened = Run.open(arguments.run_directory)
    if arguments.json:
        best = opened.best_trials(1)
        document = {
            "run": str(arguments.run_directory),
            "experiment": msgspec.to_builtins(opened.experiment),
            "input": opened.image_form.to_dict(),
            "counts": opened.counts(),
            "best": best[0].id if best else None,
            "notes": opened.notes(),
            "second_trainings": opened.second_trainings(),
        }
        print_json_with_list(document, "trials", map(trial_to_dict, _whole(opened, arguments)))
        return DONE
    console = Console()
    if not arguments.watch:
        for line in _lines(opened, arguments):
            print(line[: console.width] if console.is_terminal else line)
        return DONE
    _watch(opened, arguments, console)
    return DONE


def _watch(opened: Run, arguments: argparse.Namespace, console: Console) -> None:
    """Show the table again and again; on a terminal in place, elsewhere one table after another."""
    before: list[str] = []
    with Live(console=console, auto_refresh=False, screen=False, transient=False) as live:
        while True:
            lines = _lines(opened, arguments)
            if lines != before:
                before = lines
                if console.is_terminal:
                    room = max(3, console.height - _FRAME_LINES)
                    shown = lines if len(lines) <= room else [lines[0], *lines[-room + 1 :]]
                    live.update(Text(printable("\n".join(shown)), no_wrap=True, overflow="ellipsis"), refresh=True)
                else:
                    print("\n".join([*lines, ""]))
                    sys.stdout.flush()
            time.sleep(_POLL_S)


def _whole(opened: Run, arguments: argparse.Namespace) -> Iterator[Trial]:
    """Yield the trials that are asked for, with their records, one at a time."""
    if not (arguments.best or arguments.failed or arguments.pareto or arguments.since or arguments.sort):
        yield from opened.iterate()
        return
    chosen = [trial.id for trial in _selected(opened, arguments)]
    yield from map(opened.trial, chosen)


def _selected(opened: Run, arguments: argparse.Namespace) -> list[Trial]:
    """Return the trials that are asked for, without their records, which hold every timed run."""
    found = [_light(trial) for trial in opened.iterate()]
    order = arguments.sort or "trial"
    if arguments.since is not None:
        found = ended_since(found, moment(arguments.since))
    if arguments.failed:
        found = [trial for trial in found if trial.state == "failed"]
    if arguments.pareto:
        found, order = pareto_front(found), arguments.sort or "latency"
    if arguments.best is not None:
        ranked = [trial for trial in found if trial.state == "complete" and trial.repeat_of is None]
        found, order = in_order(ranked, "reward")[: arguments.best], arguments.sort or "reward"
    return in_order(found, order)


def _light(trial: Trial) -> Trial:
    others = {name: {"latency_ms": latency_ms} for name, latency_ms in trial.other_latencies_ms.items()}
    rungs = None if trial.training is None else {"rungs": trial.training.get("rungs", ())}
    return replace(trial, training=rungs, latency={"others": others} if others else None)


def _lines(opened: Run, arguments: argparse.Namespace) -> list[str]:
    """Return the lines of the table, and the line of counts below it."""
    best, counts = opened.best_trials(1), opened.counts()
    best_id = best[0].id if best else None
    others = tuple(opened.experiment.latency.others)
    noise = opened.noise
    rows = [_row(trial, others, noise, best_id) for trial in _selected(opened, arguments)]
    header = ("accuracy", "latency_ms", *(f"{name}_ms" for name in others), "reward")
    stopped = f", {counts['stopped']} stopped early" if counts["stopped"] else ""
    said = f"{counts['complete']} complete{stopped}, {counts['failed']} failed, {counts['proposed']} pending"
    lines = [*table_lines(("trial", "state", *header, "blocks"), rows), said]
    if not best and counts["failed"] and not counts["proposed"]:
        lines.append("No trial succeeded, so there is no best.")
    if best:
        lines.append(f"best: trial {best_id}, accuracy {accuracy_text(best[0], noise)}")
    if noise.repeated is not None:
        networks = "1 network was" if noise.networks == 1 else f"{noise.networks} networks were"
        lines.append(f"{networks} trained more than once: their accuracies differ by {noise.repeated:.2g} (1 sigma)")
    return [*lines, *(line for note in opened.notes() for line in note.splitlines())]


def _row(trial: Trial, others: Sequence[str], noise: Noise, best_id: int | None) -> tuple[str, ...]:
    what = f"{trial.failure.kind.value}: {trial.failure.message}" if trial.failure else ""
    if trial.state == "stopped":
        what = stopped_text(trial)
    if trial.repeat_of is not None:
        what = f"the same network as trial {trial.repeat_of}"
    blocks = " ".join(map(str, trial.architecture.get("blocks", ())))  # block strings, as the store keeps them
    latencies_ms = (trial.latency_ms, *(trial.other_latencies_ms.get(name) for name in others))
    numbers = (
        number(trial.accuracy, digits(None if trial.accuracy is None else noise.error(trial.accuracy))),
        *(number(value, 4) for value in latencies_ms),
        number(trial.reward, digits(reward_error(trial, noise), most=8)),
    )
    return (f"{trial.id}{'*' if trial.id == best_id else ''}", trial.state, *numbers, what or blocks)
