"""Compare the throughput of a healthy phone alone with that of the same phone beside one that fails every time.

    python -m experiments.benchmarks.pool_throughput --models 150 --rounds 5 --fault hangs

Both phones are cores of this machine. The broken one is a real one, too: its runner is killed (`--fault dies`) or
stopped until it is given up (`--fault hangs`) in each of its measurements. Rounds alternate between the healthy phone
alone and both together, each with a fresh service as a search has it. Printed are every round's ratio of the two
throughputs, and the share of the time in which the healthy phone was at work: what the pool costs, whatever else this
machine does.

All rules against disturbed timings are off, since two cores of one machine disturb each other, which phones do not. For
the same reason the ratio is too low rather than too high: the broken phone's fresh runners take CPU time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass

from latency import LatencyRecord, LatencyService, MeasurementSettings, Phone, PhoneIdentity
from latency.host import HostPhone
from latency.reference import reference_model
from mnas.latency_services import PATIENT

SETTINGS = MeasurementSettings(
    warmup_min_ms=100.0,
    contention_limit=10.0,
    relative_mad_limit=1.0,
    switches_per_s_limit=1e6,
    others_busy_limit=1e3,
    drift_limit=1e3,
    calibration_s=0.0,
    load_timeout_s=3.0,
)
FAULTS = {"dies": signal.SIGKILL, "hangs": signal.SIGSTOP}


class HealthyPhone(HostPhone):
    """A phone that knows how long it has been at work."""

    busy_s = 0.0

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `Phone`."""
        started = time.monotonic()
        record = super().measure(model, settings)
        self.busy_s += time.monotonic() - started
        return record


@dataclass(frozen=True)
class Throughput:
    """What came of one round; `busy` is the share of the time in which the healthy phone was at work."""

    models_per_s: float
    busy: float
    failures: int


class BrokenPhone:
    """A phone whose runner gets a signal in the middle of every measurement."""

    name = "broken"

    def __init__(self, core: int, fault: signal.Signals) -> None:
        self._phone = HostPhone(self.name, core)
        self._fault = fault

    def identify(self) -> PhoneIdentity:
        """See `Phone`."""
        return self._phone.identify()

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `Phone`; never gives a record."""
        self._phone.identify()  # From now on there is a runner.
        timer = threading.Timer(0.05, self._send_fault)
        timer.start()
        try:
            return self._phone.measure(model, settings)
        finally:
            timer.join()

    def close(self) -> None:
        """See `Phone`."""
        self._phone.close()

    def _send_fault(self) -> None:
        if self._phone.runner_pid is not None:
            os.kill(self._phone.runner_pid, self._fault)


def throughput(healthy: HealthyPhone, others: Sequence[Phone], models: int) -> Throughput:
    """Return how fast the phones measure so many models, of a queue that is never empty."""
    model = reference_model()
    with LatencyService([*others, healthy], SETTINGS, retry=PATIENT) as service:
        service.submit(model).result()  # The runners have started when the clock does.
        busy_before_s, started = healthy.busy_s, time.monotonic()
        futures = [service.submit(model) for _ in range(models + 5)]
        for _ in itertools.islice(as_completed(futures), models):
            pass
        seconds, busy_s = time.monotonic() - started, healthy.busy_s - busy_before_s
        failures = sum(status.failures for status in service.status())
    return Throughput(models / seconds, busy_s / seconds, failures)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=150, help="models in a round (default: 150)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rounds (default: 5)")
    parser.add_argument("--fault", choices=FAULTS, default="dies", help="what the broken phone does (default: dies)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    healthy = HealthyPhone("healthy", cores[-1])
    broken = BrokenPhone(cores[0], FAULTS[arguments.fault])
    rounds = []
    try:
        for _ in range(arguments.rounds):
            rounds.append((throughput(healthy, [], arguments.models), throughput(healthy, [broken], arguments.models)))
    finally:
        healthy.close()
        broken.close()
    ratios = [together.models_per_s / alone.models_per_s for alone, together in rounds]
    summary = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    if arguments.json:
        pairs = [{"alone": asdict(alone), "together": asdict(together)} for alone, together in rounds]
        print(json.dumps({"fault": arguments.fault, "rounds": pairs, "ratio": summary}, indent=2))
        return
    for (alone, together), ratio in zip(rounds, ratios, strict=True):
        print(
            f"alone {alone.models_per_s:.2f} models/s, {alone.busy:.1%} at work; beside one that {arguments.fault} "
            f"{together.models_per_s:.2f} models/s, {together.busy:.1%} at work, {together.failures} failures; "
            f"ratio {ratio:.3f}"
        )
    print("ratio: " + ", ".join(f"{name} {value:.3f}" for name, value in summary.items()))


if __name__ == "__main__":
    main()
