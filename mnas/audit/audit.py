"""The audit of an experiment: small searches over the same networks, and what they tell about the whole search.

Every part is an ordinary search with a run directory of its own, whose controller proposes given networks. So it works
on the same workers and phones, and whatever stops it loses nothing: the same call goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mnas.audit.advice import advice
from mnas.audit.findings import Findings, findings
from mnas.audit.fixed import FixedProposals, KnownLatencies
from mnas.audit.parts import AuditPlan, Part
from mnas.files import RunDirectoryError
from mnas.search.driver import SearchObserver, SilentObserver
from mnas.search.run_directory import DATABASE
from mnas.search.trial import Trial

LOG_FILE = "ray.log"
"""What Ray prints, in the directory of an audit."""


class AuditObserver(SearchObserver, Protocol):
    """Is told what happens in an audit; an exception that it raises ends it, and the same call goes on."""

    def audit_started(self, plan: AuditPlan) -> None:
        """Take note of what the audit will do, and what that costs."""

    def part_started(self, part: Part) -> None:
        """Take note of a search that begins or goes on."""


class SilentAuditObserver(SilentObserver):
    """Shows nothing."""

    def audit_started(self, plan: AuditPlan) -> None:
        """See `AuditObserver`."""

    def part_started(self, part: Part) -> None:
        """See `AuditObserver`."""


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        directory: Where its searches are kept.
        findings: What was measured.
        advice: What follows for the search, in words.
    """

    directory: Path
    findings: Findings
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"directory": str(self.directory), **self.findings.to_dict(), "advice": list(self.advice)}


def run_audit(plan: AuditPlan, directory: Path, observer: AuditObserver | None = None) -> Audit:
    """Carry out an audit, or go on with the one in the directory; see `Experiment.audit`."""
    observer = observer or SilentAuditObserver()
    _check_directory(directory, plan)
    observer.audit_started(plan)
    trials: dict[str, Sequence[Trial]] = {}
    overheads_s: list[float | None] = []
    for part in plan.parts:
        observer.part_started(part)
        # A cheaper training is no reason to time the networks again; with smaller images they would be faster.
        known = None if part.cheaper is None else _latencies(trials[plan.parts[0].name])
        run = part.experiment.run(
            directory / part.name, observer=observer, latency=known, controller=FixedProposals(plan.networks)
        )
        trials[part.name] = run.trials
        overheads_s.append(run.overhead_s)
        if len(run.trials) < len(plan.networks) or run.counts()["proposed"]:
            raise RunDirectoryError(f"{run.directory}: was asked to stop before its end; the same command goes on")
    # The first search has loaded Ray and the rest into this process, as a search in a process of its own does.
    found = findings(plan, trials, overheads_s[0])
    return Audit(directory, found, advice(found, plan.experiment))


def _latencies(trials: Sequence[Trial]) -> KnownLatencies:
    return KnownLatencies({trial.fingerprint: trial.latency for trial in trials if trial.latency is not None})


def _check_directory(directory: Path, plan: AuditPlan) -> None:
    """Raise RunDirectoryError if the directory holds something else than an audit."""
    if not directory.is_dir() or (directory / plan.parts[0].name / DATABASE).exists():
        return
    if {path.name for path in directory.iterdir()} - {plan.parts[0].name, LOG_FILE}:
        raise RunDirectoryError(f"{directory}: not empty and no audit of mnas; choose a new directory with --run-dir")
