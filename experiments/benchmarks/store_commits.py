"""How many durable trials a second does the trial store commit, next to Optuna's SQLite storage?

    python -m experiments.benchmarks.store_commits --trials 2000 --folder FOLDER
    python -m experiments.benchmarks.store_commits --trials 500 --filled 9500 --folder FOLDER

A trial here has 28 decisions. mnas commits what its driver commits for one: the proposal with the state of a random
controller, the measurement, the training, and the outcome together with the next proposal. Optuna, if it can be
imported, is measured in two ways. `add_trial` commits a finished trial at once, so a proposal that is pending is not
kept. `ask_tell` (with --ask-tell) commits what `ask` with 28 categorical parameters and `tell` commit, which keeps as
much as mnas does. All wait for the disk after each commit. They take turns, a block of trials each, so that all see the
same disk.

With --filled the stores hold so many trials before the first one that is measured: mnas has committed them without
waiting for the disk, and rows of Optuna's tables are copied in SQL, since its API would take minutes.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import controllers
from mnas.search.store import TrialStore
from mnas.search.trial import Outcome, Proposal, Told

SIZES = (4,) * 28
ARCHITECTURE = {"stem_filters": 32, "blocks": ["r2_k3_s22_e6_i16_o24_se0.25"] * 7}
BLOCK = 50


def mnas_trials(path: Path, filled: int) -> Callable[[int], None]:
    """Return a function that commits so many further trials to a store of mnas that holds `filled` trials."""
    store = TrialStore(path, create=True, durable=not filled)
    controller = controllers.create_controller("random", SIZES, seed=0)
    made = 0

    def propose() -> Proposal:
        (decisions,) = controller.ask(1)
        proposal = Proposal(made + 1, decisions, ARCHITECTURE, f"{made:016x}")
        store.propose(1, [proposal], controller.state())
        return proposal

    pending = propose()

    def commit(count: int) -> None:
        nonlocal made, pending
        for _ in range(count):
            store.record_latency(pending.id, {"latency_ms": 1.5})
            store.record_training(pending.id, {"accuracy": 0.5})
            with store.together():
                controller.tell([pending.decisions], [0.5])
                told = Told((pending.id,), (0.5,), controller.state())
                store.finish([Outcome(pending.id, 0.5, 1.5, 0.5)], told)
                made += 1
                pending = propose()

    if filled:
        commit(filled)
        store.close()
        store = TrialStore(path, create=True)
    return commit


def optuna_add_trial(path: Path, filled: int) -> Callable[[int], None]:
    """Return a function that adds so many finished trials to a SQLite storage of Optuna that holds `filled` trials."""
    import optuna

    study = _study(path)
    distributions = {
        f"d{place}": optuna.distributions.CategoricalDistribution(range(n)) for place, n in enumerate(SIZES)
    }

    def commit(count: int) -> None:
        for _ in range(count):
            parameters = dict.fromkeys(distributions, 0)
            study.add_trial(optuna.create_trial(params=parameters, distributions=distributions, value=0.5))

    _fill(path, commit, filled)
    return commit


def optuna_ask_tell(path: Path, filled: int) -> Callable[[int], None]:
    """Return a function that asks for and tells so many trials in a SQLite storage of Optuna that holds `filled`."""
    study = _study(path)

    def commit(count: int) -> None:
        for _ in range(count):
            trial = study.ask()
            for place, size in enumerate(SIZES):
                trial.suggest_categorical(f"d{place}", range(size))
            study.tell(trial, 0.5)

    _fill(path, commit, filled)
    return commit


def _fill(path: Path, commit: Callable[[int], None], trials: int) -> None:
    """Commit one trial to a SQLite storage of Optuna, and copy its rows until there are so many."""
    if not trials:
        return
    commit(1)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "WITH RECURSIVE further(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM further WHERE n + 1 < ?) "
            "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
            "SELECT trial_id + n, number + n, study_id, state, datetime_start, datetime_complete FROM trials, further",
            (trials,),
        )
        connection.execute(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
            "SELECT other.trial_id, param_name, param_value, distribution_json "
            "FROM trials AS other, trial_params AS one WHERE other.trial_id > one.trial_id"
        )
        connection.execute(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) "
            "SELECT other.trial_id, objective, value, value_type "
            "FROM trials AS other, trial_values AS one WHERE other.trial_id > one.trial_id"
        )


def _study(path: Path) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(storage=f"sqlite:///{path}", sampler=optuna.samplers.RandomSampler(seed=0))


def measure(ways: dict[str, Callable[[int], None]], trials: int) -> dict[str, float]:
    """Return the trials a second of each way, commits in turns, over all of `trials`."""
    seconds = dict.fromkeys(ways, 0.0)
    for _ in range(0, trials, BLOCK):
        for name, commit in ways.items():
            began = time.perf_counter()
            commit(BLOCK)
            seconds[name] += time.perf_counter() - began
    return {name: trials / taken for name, taken in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each number of trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, action="append", help="may be repeated")
    parser.add_argument("--filled", type=int, default=0, help="trials that the stores hold before")
    parser.add_argument("--ask-tell", action="store_true", help="measure Optuna's ask and tell, too; slow")
    parser.add_argument("--folder", type=Path, required=True, help="on the disk to measure; must be empty")
    parser.add_argument("--results", type=Path, metavar="FILE.json")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for trials in options.trials or [2000]:
        ways = {"mnas": mnas_trials(options.folder / f"mnas-{trials}.sqlite", options.filled)}
        if find_spec("optuna") is not None:
            ways["add_trial"] = optuna_add_trial(options.folder / f"add-{trials}.sqlite", options.filled)
            if options.ask_tell:
                ways["ask_tell"] = optuna_ask_tell(options.folder / f"ask-{trials}.sqlite", options.filled)
        rates = measure(ways, trials)
        shown = [f"{name} {rate:.1f}/s ({rates['mnas'] / rate:.1f})" for name, rate in rates.items()]
        print(f"{trials:>6} trials after {options.filled}: {', '.join(shown)}", flush=True)
        rows.append({"filled": options.filled, "trials": trials, **rates})
    if options.results:
        options.results.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
