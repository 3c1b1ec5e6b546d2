"""Compare the latencies that a search measured, while children trained, with quiet ones of the same networks.

    python -m experiments.benchmarks.latency_in_search runs/cifar10 --rounds 5

Run it when the search has ended and the machine is idle. Every network is timed again, `rounds` times with all networks
in turn. Printed are the ratio of the search's latency to the median of the quiet ones, with its spread over the
networks, and the spread of single quiet measurements around their median: no search can do better.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from latency import MeasurementSettings, create_phones
from mnas.network.onnx_graph import build_onnx
from mnas.search.run import Run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_directory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    run = Run.open(arguments.run_directory)
    trials = [trial for trial in run.trials if trial.latency is not None and trial.repeat_of is None]
    settings: MeasurementSettings = run.experiment.latency.measurement_settings("host")
    models = [build_onnx(run.image_form.lower(run.architecture(trial))).SerializeToString() for trial in trials]
    phone = create_phones("host")[0]
    quiet_ms: list[list[float]] = [[] for _ in trials]
    try:
        for _ in range(arguments.rounds):
            for model, measured in zip(models, quiet_ms, strict=True):
                measured.append(phone.measure(model, settings).latency_ms)
    finally:
        phone.close()
    medians = [statistics.median(measured) for measured in quiet_ms]
    in_search = [
        float(trial.latency["latency_ms"]) / median
        for trial, median in zip(trials, medians, strict=True)
        if trial.latency is not None
    ]
    alone = [value / median for measured, median in zip(quiet_ms, medians, strict=True) for value in measured]
    rejected = sum(len(trial.latency["rejected_windows"]) for trial in trials if trial.latency is not None)
    result = {"networks": len(trials), "rejected_windows": rejected}
    summaries = {"search / quiet": summary(in_search), "quiet / quiet": summary(alone)}
    if arguments.json:
        print(json.dumps({**result, **summaries}, indent=2))
        return
    print(f"{len(trials)} networks of {arguments.run_directory}; the search rejected {rejected} windows")
    for name, values in summaries.items():
        print(f"{name:15}" + "".join(f"  {key} {value:.3f}" for key, value in values.items()))


def summary(ratios: list[float]) -> dict[str, float]:
    """Return median, extremes and the share within 3% of 1."""
    return {
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
        "within_3_percent": sum(abs(ratio - 1) <= 0.03 for ratio in ratios) / len(ratios),
    }


if __name__ == "__main__":
    main()
