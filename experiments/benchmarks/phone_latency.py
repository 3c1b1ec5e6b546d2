"""Compare latencies over adb with the host's own, on the one machine where both can be had: an adb daemon on it.

    python -m experiments.benchmarks.phone_latency --rounds 5

Starts Debian's adbd on loopback, adds it as a phone as `mnas phones add` does (timed, the push included), then measures
networks of a search space alternately over adb and by `host`, and prints for each network the ratio of the medians,
for all of them Kendall's rank correlation, the spread of repeated sessions, and what a measurement costs without its
warm-up and its timed runs. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from latency import LatencyRecord, MeasurementSettings, PhoneBackend, PhoneError, create_phones, phone_settings
from latency.android.onboarding import add_phone
from latency.loopback.adbd import Adbd
from latency.loopback.debian import unpack_adbd
from latency.measurement.reference_network import reference_model
from mnas.network.onnx_graph import build_onnx
from mnas.ranks import kendall_tau
from search_space import SearchSpace, lower

PATIENCE = 20

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Compared:
    """One network: its latencies by both ways, one a round."""

    name: str
    adb_ms: tuple[float, ...]
    host_ms: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median over adb divided by the median by the host."""
        return statistics.median(self.adb_ms) / statistics.median(self.host_ms)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mnasnet", help="where the networks are drawn from (default: mnasnet)")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    models = random_models(arguments.space, arguments.networks, arguments.image_size)
    with tempfile.TemporaryDirectory(prefix="mnas-phone-latency-") as folder:
        os.environ["MNAS_PHONES"] = str(Path(folder, "phones"))
        root = Path(folder, "debian")
        root.mkdir()
        unpack_adbd(root)
        with Adbd(root, Path(folder, "phone")) as adbd:
            result = compare(adbd, models, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


def random_models(space_name: str, count: int, image_size: int) -> dict[str, bytes]:
    """Return networks drawn from a search space, as ONNX."""
    space, generator = SearchSpace.load(space_name), np.random.default_rng(0)
    architectures = [space.decode(space.sample(generator)) for _ in range(count)]
    return {
        f"network {number}": build_onnx(lower(architecture, image_size=image_size)).SerializeToString()
        for number, architecture in enumerate(architectures, start=1)
    }


def compare(adbd: Adbd, models: dict[str, bytes], rounds: int) -> dict[str, object]:
    """Add the phone, measure every model by both ways in turn, and sum up."""
    started = time.monotonic()
    add_phone("loopback", adbd.address, folder=str(adbd.folder / "mnas"), on_step=say)
    added_s = time.monotonic() - started
    settings = phone_settings("loopback", {})
    (phone,), (host,) = create_phones("loopback"), create_phones("host")
    try:
        patiently(lambda: phone.measure(reference_model(), settings))
        first_s = time.monotonic() - started
        say(f"added in {added_s:.1f} s, first accepted measurement after {first_s:.1f} s")
        overheads_s: list[float] = []
        adb_ms: dict[str, list[float]] = {name: [] for name in models}
        host_ms: dict[str, list[float]] = {name: [] for name in models}
        for number in range(rounds):
            for name, model in models.items():
                record, seconds = measure_timed(phone, model, settings)
                adb_ms[name].append(record.latency_ms)
                if not record.rejected_windows:
                    overheads_s.append(seconds - warm_and_timed_s(record))
                record, _ = measure_timed(host, model, settings)
                host_ms[name].append(record.latency_ms)
            say(f"round {number + 1} of {rounds}")
    finally:
        phone.close()
        host.close()
    compared = [Compared(name, tuple(adb_ms[name]), tuple(host_ms[name])) for name in models]
    return {
        "added_s": added_s,
        "first_measurement_s": first_s,
        "overhead_s": quartiles(overheads_s),
        "kendall_tau": kendall_tau(
            [statistics.median(each.adb_ms) for each in compared],
            [statistics.median(each.host_ms) for each in compared],
        ),
        "ratio": quartiles([each.ratio for each in compared]),
        "session_spread_adb": quartiles([max(each.adb_ms) / min(each.adb_ms) - 1 for each in compared]),
        "session_spread_host": quartiles([max(each.host_ms) / min(each.host_ms) - 1 for each in compared]),
        "networks": [{**asdict(each), "ratio": each.ratio} for each in compared],
    }


def measure_timed(phone: PhoneBackend, model: bytes, settings: MeasurementSettings) -> tuple[LatencyRecord, float]:
    """Return an accepted record and how long its measurement took, failed tries not included."""

    def measure() -> tuple[LatencyRecord, float]:
        started = time.monotonic()
        return phone.measure(model, settings), time.monotonic() - started

    return patiently(measure)


def patiently(measure: Callable[[], _Result]) -> _Result:
    """Try again while the machine is unsteady."""
    for _ in range(PATIENCE - 1):
        try:
            return measure()
        except PhoneError as error:
            say(str(error))
            time.sleep(2)
    return measure()


def warm_and_timed_s(record: LatencyRecord) -> float:
    """Return how long the runs of an accepted measurement took: the first, the warm-up, the re-warm, the timed ones."""
    total_ms = 0.0
    for session in record.sessions:
        if session.loaded is not None:
            total_ms += session.loaded.first_run_ms + session.loaded.warmup_ms
        total_ms += max(record.settings.rewarm_min_ms, record.settings.rewarm_runs * session.window.latency_ms)
        total_ms += sum(session.window.wall_ms)
    return total_ms / 1000


def quartiles(values: list[float]) -> dict[str, float]:
    """Return the least, the median and the greatest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def say(text: str) -> None:
    """Print progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def show(result: dict[str, object]) -> None:
    """Print the result for people."""
    networks = result.pop("networks")
    assert isinstance(networks, list)
    print("network      adb ms     host ms    adb / host")
    for each in networks:
        adb_ms, host_ms = statistics.median(each["adb_ms"]), statistics.median(each["host_ms"])
        print(f"{each['name']:<11}  {adb_ms:<9.4f}  {host_ms:<9.4f}  {each['ratio']:.4f}")
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{name:<20}" + "".join(f"  {key} {number:.4f}" for key, number in value.items()))
        else:
            print(f"{name:<20}  {value:.3f}")


if __name__ == "__main__":
    main()
