"""Read a run into a table, finished or not: python experiments/examples/run_into_table.py runs/quickstart."""

import sys

import mnas

run = mnas.Run.open(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart")
columns = run.columns()  # with pandas: pandas.DataFrame(run.columns())

print(f"{len(columns['id'])} of {run.experiment.search.trials} trials, on {run.experiment.latency.phone}")
print(f"{'trial':>5} {'state':10} {'accuracy':>8} {'latency_ms':>10} {'reward':>8}  blocks")
for number, state, accuracy, latency_ms, reward, blocks in zip(
    *(columns[name] for name in ("id", "state", "accuracy", "latency_ms", "reward", "blocks")), strict=True
):
    # What is not known, of a trial that failed or has not ended, is None.
    numbers = (f"{value or float('nan'):.4f}" for value in (accuracy, latency_ms, reward))
    print("{:>5} {:10} {:>8} {:>10} {:>8}  {}".format(number, state, *numbers, blocks))
