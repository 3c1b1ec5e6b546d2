"""Compare the throughput of a healthy phone alone with that of the same phone beside one that fails every time.

    python -m experiments.benchmarks.pool_throughput --models 150 --rounds 5 --fault hangs

Both phones are cores of this machine. The broken one is a real one, too: its runner is killed (`--fault dies`) or
stopped until it is given up (`--fault hangs`) in each of its measurements. Rounds alternate between the healthy phone
alone and both together, each with a fresh service as a search has it; every round's ratio of the two throughputs is
printed. All rules against disturbed timings are off, since two cores of one machine disturb each other, which phones do
not. For the same reason the ratio is too low rather than too high: the broken phone's fresh runners take CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Sequence

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


def throughput(phones: Sequence[Phone], models: int) -> tuple[float, int]:
    """Return how many models a second the phones measure, and how often one of them failed."""
    model = reference_model()
    with LatencyService(phones, SETTINGS, retry=PATIENT) as service:
        service.submit(model).result()  # The runners have started when the clock does.
        started = time.monotonic()
        for future in [service.submit(model) for _ in range(models)]:
            future.result()
        seconds = time.monotonic() - started
        failures = sum(status.failures for status in service.status())
    return models / seconds, failures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=150, help="models in a round (default: 150)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rounds (default: 5)")
    parser.add_argument("--fault", choices=FAULTS, default="dies", help="what the broken phone does (default: dies)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    healthy = HostPhone("healthy", cores[-1])
    broken = BrokenPhone(cores[0], FAULTS[arguments.fault])
    rounds = []
    try:
        for _ in range(arguments.rounds):
            alone, _ = throughput([healthy], arguments.models)
            together, failures = throughput([broken, healthy], arguments.models)
            rounds.append({"alone": alone, "together": together, "ratio": together / alone, "failures": failures})
    finally:
        healthy.close()
        broken.close()
    ratios = [each["ratio"] for each in rounds]
    summary = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    if arguments.json:
        print(json.dumps({"fault": arguments.fault, "rounds": rounds, "ratio": summary}, indent=2))
        return
    for each in rounds:
        print(
            f"alone {each['alone']:.2f} models/s, beside one that {arguments.fault} {each['together']:.2f}, "
            f"ratio {each['ratio']:.3f}, {each['failures']} failures"
        )
    print("ratio: " + ", ".join(f"{name} {value:.3f}" for name, value in summary.items()))


if __name__ == "__main__":
    main()
