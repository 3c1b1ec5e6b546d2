"""Compare the throughput of a healthy phone alone with that of a pool in which another one fails every time.

    python -m experiments.benchmarks.pool_throughput --models 150 --rounds 5 --fault hangs

Each phone is an adb daemon (Debian's) on this machine with a core of its own; with `--phones host`, a core without adb.
The broken phone is real too: its runner is killed (`--fault dies`) or stopped until it is given up (`--fault hangs`) in
each of its measurements. Rounds alternate between the healthy phone alone and both together, each with a service of
its own as a search has it. Printed are every round's ratio of the two throughputs, and the share of the time in which
the healthy phone was at work. That share is the cost of the pool, independent of other load on this machine.

All rules against disturbed timings are off, since two cores of one machine disturb each other, which phones do not. For
the same reason the ratio is too low rather than too high: the broken phone's new runners take CPU time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from latency import LatencyRecord, LatencyService, MeasurementSettings, PhoneBackend, PhoneIdentity, PhoneLeases
from latency.android.phone import AdbPhone
from latency.host.phone import HostPhone
from latency.loopback.adbd import Adbd
from latency.loopback.debian import unpack_adbd
from latency.loopback.phone import phone_profile, signal_runners
from latency.measurement.reference_network import reference_model
from mnas.search.latency import PATIENT

SETTINGS = MeasurementSettings(
    warmup_min_ms=100.0,
    contention_limit=10.0,
    relative_mad_limit=1.0,
    switches_per_s_limit=1e6,
    others_busy_limit=1e3,
    drift_limit=1e3,
    faster_limit=1.0,
    calibration_s=0.0,
    load_timeout_s=2.0,
    window_timeout_s=1.0,
)
FAULTS = {"dies": signal.SIGKILL, "hangs": signal.SIGSTOP}


class HealthyPhone:
    """A phone that knows how long it has been at work."""

    def __init__(self, phone: PhoneBackend) -> None:
        self._phone = phone
        self.name = phone.name
        self.busy_s = 0.0

    def identify(self) -> PhoneIdentity:
        """See `PhoneBackend`."""
        return self._phone.identify()

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `PhoneBackend`."""
        started = time.monotonic()
        record = self._phone.measure(model, settings)
        self.busy_s += time.monotonic() - started
        return record

    def close(self) -> None:
        """See `PhoneBackend`."""
        self._phone.close()


@dataclass(frozen=True)
class Throughput:
    """The result of one round; `busy` is the share of the time in which the healthy phone was at work."""

    models_per_s: float
    busy: float
    failures: int


class BrokenPhone:
    """A phone whose runner gets a signal in the middle of every measurement."""

    name = "broken"

    def __init__(self, phone: PhoneBackend, break_it: Callable[[], None]) -> None:
        self._phone = phone
        self._break_it = break_it

    def identify(self) -> PhoneIdentity:
        """See `PhoneBackend`."""
        return self._phone.identify()

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `PhoneBackend`; never gives a record."""
        self._phone.identify()  # From now on it is connected.
        ended = threading.Event()
        saboteur = threading.Thread(target=self._sabotage, args=(ended,))
        saboteur.start()
        try:
            return self._phone.measure(model, settings)
        finally:
            ended.set()
            saboteur.join()

    def close(self) -> None:
        """See `PhoneBackend`."""
        self._phone.close()

    def _sabotage(self, ended: threading.Event) -> None:
        while not ended.wait(0.05):
            self._break_it()


@contextmanager
def host_phones(fault: signal.Signals) -> Iterator[tuple[PhoneBackend, BrokenPhone]]:
    """Yield a healthy and a broken phone, each a core of this machine."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="mnas-pool-") as folder:
        # Leases of their own: two cores of one host would take turns.
        healthy = HostPhone("healthy", last, leases=PhoneLeases(Path(folder, "healthy")))
        broken = HostPhone("broken", first, leases=PhoneLeases(Path(folder, "broken")))

        def break_it() -> None:
            if broken.runner_pid is not None:
                os.kill(broken.runner_pid, fault)

        yield healthy, BrokenPhone(broken, break_it)


@contextmanager
def adb_phones(fault: signal.Signals) -> Iterator[tuple[PhoneBackend, BrokenPhone]]:
    """Yield a healthy and a broken phone, each an adb daemon with a core of its own."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="mnas-pool-") as folder:
        root = Path(folder, "debian")
        root.mkdir()
        unpack_adbd(root)
        with Adbd(root, Path(folder, "healthy")) as good, Adbd(root, Path(folder, "broken")) as bad:
            healthy, broken = (
                AdbPhone(msgspec.structs.replace(profile, core=core), device)
                for core, (profile, device) in ((last, phone_profile(good)), (first, phone_profile(bad)))
            )
            yield healthy, BrokenPhone(broken, lambda: signal_runners(bad.folder, fault))


PHONES = {"adb": adb_phones, "host": host_phones}


def throughput(healthy: HealthyPhone, others: Sequence[PhoneBackend], models: int) -> Throughput:
    """Return how fast the phones measure this number of models, from a queue that is never empty."""
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
    parser.add_argument("--phones", choices=PHONES, default="adb", help="what stands in for the phones (default: adb)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rounds = []
    with PHONES[arguments.phones](FAULTS[arguments.fault]) as (phone, broken):
        healthy = HealthyPhone(phone)
        for _ in range(arguments.rounds):
            rounds.append((throughput(healthy, [], arguments.models), throughput(healthy, [broken], arguments.models)))
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
            f"alone {alone.models_per_s:.2f} models/s, {alone.busy:.1%} at work; with one that {arguments.fault} "
            f"{together.models_per_s:.2f} models/s, {together.busy:.1%} at work, {together.failures} failures; "
            f"ratio {ratio:.3f}"
        )
    print("ratio: " + ", ".join(f"{name} {value:.3f}" for name, value in summary.items()))


if __name__ == "__main__":
    main()
