"""Does an audit say the truth? Its rank correlations on other networks, and its hours against real searches.

    python -m experiments.benchmarks.audit_proof quickstart --folder NEW --results FILE.json
    python -m experiments.benchmarks.audit_proof quickstart --folder NEW --only search

audit   audits the experiment, as `mnas audit` does
search  times whole searches from the start of the command `mnas search` to its end, each with another seed
fresh   trains random networks that are not in the audit as the audit has trained its own: fully with every seed, and
        more cheaply once; so the Kendall's tau that an audit predicts is found on them

Whatever stops it, the same command goes on, but a search that was stopped is timed from its start again. For the hours,
run the steps `audit` and `search` with nothing else on the machine; the step `fresh` is not timed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from controllers import Decisions
from mnas.audit.audit import Audit, run_audit
from mnas.audit.findings import Findings
from mnas.audit.parts import AuditPlan, audit_plan
from mnas.audit.statistics import RankCorrelation
from mnas.bundled_files import find_experiment
from mnas.cli.audit import audit_progress
from mnas.cli.search import change
from mnas.experiment import Experiment
from search_space import SearchSpace, fingerprint

STEPS = ("audit", "search", "fresh")
FRESH_SEED = 1000
"""Added to the seed of the experiment, so that the fresh networks have other seeds than those of the audit."""


@dataclass(frozen=True)
class Order:
    """How well a training ranks networks: as an audit has predicted it, and of other networks."""

    change: str
    predicted: RankCorrelation
    found: RankCorrelation

    @property
    def is_within(self) -> bool:
        """Whether the predicted interval holds the tau of the other networks."""
        return self.predicted.low <= self.found.tau <= self.predicted.high


def fresh_plan(audited: AuditPlan, experiment: Experiment, count: int, seeds: int, keys: Sequence[str]) -> AuditPlan:
    """Return an audit of random networks that are not in another one.

    Args:
        audited: The other audit.
        experiment: The audited experiment.
        count: How many networks.
        seeds: Full trainings of each.
        keys: The keys of the cheaper trainings; none takes all of the audit.
    """
    plan = audit_plan(experiment.changed({"seed": experiment.seed + FRESH_SEED}), count, seeds)
    return replace(
        plan,
        networks=_random_networks(experiment.load_space(), count, audited.networks),
        parts=tuple(part for part in plan.parts if part.cheaper is None or not keys or part.cheaper.key in keys),
    )


def _random_networks(space: SearchSpace, count: int, known: Sequence[Decisions]) -> tuple[Decisions, ...]:
    random, found = np.random.default_rng(FRESH_SEED), dict[str, Decisions]()
    excluded = {fingerprint(space.decode(decisions)) for decisions in known}
    while len(found) < count:
        decisions = space.sample(random)
        if (key := fingerprint(space.decode(decisions))) not in excluded:
            found.setdefault(key, decisions)
    return tuple(found.values())


def orders(predicted: Findings, found: Findings) -> Iterator[Order]:
    """Yield every way of training of which both know how well it ranks networks."""
    yield Order("the full training", predicted.full_training, found.full_training)
    of_fresh = {proxy.change: proxy.order for proxy in found.proxies}
    for proxy in predicted.proxies:
        if proxy.change in of_fresh:
            yield Order(proxy.change, proxy.order, of_fresh[proxy.change])


def time_search(path: Path, changes: Sequence[str], seed: int, folder: Path) -> float:
    """Return the wall time of a whole search in seconds; one that was timed before is not carried out again."""
    directory, timed = folder / f"search-{seed}", folder / f"search-{seed}.json"
    if not timed.exists():
        if directory.exists():
            shutil.rmtree(directory)
        sets = [word for text in (*changes, f"seed={seed}") for word in ("--set", text)]
        began_s = time.monotonic()
        command = [sys.executable, "-m", "mnas", "search", str(path), "--run-dir", str(directory), *sets]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        timed.write_text(json.dumps(time.monotonic() - began_s))
    return float(json.loads(timed.read_text()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out the steps, and print what was predicted next to what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="a YAML file, or the name of a bundled experiment")
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept; one for each experiment")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="as of `mnas search`")
    parser.add_argument("--networks", type=int, default=12, help="of the audit")
    parser.add_argument("--seeds", type=int, default=3, help="full trainings of each network")
    parser.add_argument("--searches", type=int, default=2, help="real searches, the first with the seed 0")
    parser.add_argument("--fresh", type=int, default=40, help="networks that are not in the audit")
    parser.add_argument("--keys", nargs="*", default=[], help="of the cheaper trainings of fresh networks; all if none")
    parser.add_argument("--only", choices=STEPS, help="carry out one step")
    parser.add_argument("--results", type=Path, metavar="FILE.json")
    options = parser.parse_args(arguments)
    steps = STEPS if options.only is None else (options.only,)
    path = find_experiment(options.experiment)
    experiment = Experiment.load(path).changed(dict(map(change, options.set)))
    plan = audit_plan(experiment, options.networks, options.seeds)
    options.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"experiment": path.stem, "set": options.set}
    audit = fresh = None
    if "audit" in steps:
        audit = _audited(plan, options.folder / "audit")
        results["audit"] = _summary(audit)
    if "search" in steps:
        minutes = [time_search(path, options.set, seed, options.folder) / 60 for seed in range(options.searches)]
        results["search_minutes"] = [round(each, 2) for each in minutes]
        print("searches took", *(f"{each:.2f}" for each in minutes), "minutes")
        if audit is not None:
            predicted = 60 * audit.findings.forecast.hours
            results["predicted_minutes"] = round(predicted, 2)
            print(f"predicted {predicted:.2f} minutes:", *(f"{predicted / each - 1:+.1%}" for each in minutes))
    if "fresh" in steps:
        fresh = _audited(
            fresh_plan(plan, experiment, options.fresh, options.seeds, options.keys), options.folder / "fresh"
        )
        results["fresh"] = _summary(fresh)
    if audit is not None and fresh is not None:
        results["orders"] = []
        print(f"{'ranked by':24}predicted by {options.networks} networks  found with {options.fresh}")
        for order in orders(audit.findings, fresh.findings):
            results["orders"].append(asdict(order) | {"is_within": order.is_within})
            print(f"{order.change:24}{_text(order.predicted):26}{_text(order.found)}  within: {order.is_within}")
    if options.results:
        options.results.write_text(json.dumps(results, indent=1) + "\n")


def _audited(plan: AuditPlan, directory: Path) -> Audit:
    with audit_progress() as progress:
        return run_audit(plan, directory, progress)


def _summary(audit: Audit) -> dict[str, Any]:
    found = audit.findings
    return {
        "networks": len(found.networks),
        "seeds": found.seeds,
        "accuracy": asdict(found.accuracy),
        "latency_noise": found.latency.noise,
        "child_s": found.forecast.child_s,
        "measure_s": found.forecast.measure_s,
        "overhead_s": found.forecast.overhead_s,
    }


def _text(order: RankCorrelation) -> str:
    return f"{order.tau:5.2f} ({order.low:5.2f} to {order.high:5.2f})"


if __name__ == "__main__":
    main()
