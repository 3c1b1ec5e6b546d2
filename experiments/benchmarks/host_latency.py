"""Compare host latencies measured while other processes keep every core busy with quiet ones.

Two models (about 0.5 ms and 10 ms) are measured in rounds, in three conditions that take turns:

    quiet      nothing else runs
    windows    one training-like process per core, held back while a window is timed (ProcessPauser)
    load       the same processes, not held back, every window accepted: the result without protection

    python -m experiments.benchmarks.host_latency --rounds 10 [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latency import LatencyRecord, MeasurementSettings, PhoneUnstableError, ProcessPauser
from latency.host.phone import HostPhone

# One training-like worker: a convolution as im2col and matrix product, forward and backward, plus an update
# that streams through memory. One thread, pinned to the core given as argument.
WORKER = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.sched_setaffinity(0, {int(sys.argv[1])})
import numpy as np
generator = np.random.default_rng(0)
images = generator.standard_normal((64, 32, 32, 32), dtype=np.float32)
weights = generator.standard_normal((288, 64), dtype=np.float32)
parameters = generator.standard_normal(4_000_000, dtype=np.float32)
momentum = np.zeros_like(parameters)
print("ready", flush=True)
while True:
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    columns = patches.reshape(-1, 288)
    outputs = np.maximum(columns @ weights, 0)
    weights -= 1e-9 * (columns.T @ outputs)
    momentum *= 0.9
    momentum += parameters
    parameters -= 1e-6 * momentum
"""


def separable_network(channels: list[int], strides: list[int], size: int) -> bytes:
    """Return an ONNX network of depthwise-separable layers (3x3 depthwise, 1x1), with a dynamic batch."""
    generator = np.random.default_rng(0)
    nodes, weights = [], []

    def weight(name: str, *shape: int) -> str:
        scale = (2 / np.prod(shape[1:])) ** 0.5
        weights.append(numpy_helper.from_array((generator.standard_normal(shape) * scale).astype(np.float32), name))
        return name

    def convolution(source: str, name: str, inputs: int, outputs: int, kernel: int, stride: int, group: int) -> str:
        pad = kernel // 2
        nodes.append(
            helper.make_node(
                "Conv",
                [source, weight(f"{name}.weight", outputs, inputs // group, kernel, kernel)],
                [f"{name}.conv"],
                kernel_shape=[kernel, kernel],
                strides=[stride, stride],
                pads=[pad, pad, pad, pad],
                group=group,
            )
        )
        nodes.append(helper.make_node("Relu", [f"{name}.conv"], [name]))
        return name

    tensor = convolution("images", "stem", 3, channels[0], 3, 2, 1)
    width = channels[0]
    for layer, (outputs, stride) in enumerate(zip(channels[1:], strides, strict=True)):
        tensor = convolution(tensor, f"depthwise{layer}", width, width, 3, stride, width)
        tensor = convolution(tensor, f"pointwise{layer}", width, outputs, 1, 1, 1)
        width = outputs
    nodes.append(helper.make_node("GlobalAveragePool", [tensor], ["features"]))
    graph = helper.make_graph(
        nodes,
        "separable",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", width, 1, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


MODELS: dict[str, Callable[[], bytes]] = {
    "small": lambda: separable_network([16, 32, 64, 96, 128], [1, 2, 2, 1], 176),
    "mobile": lambda: separable_network(
        [32, 64, 128, 128, 192, 192, 256, 256, 384, 384, 512], [1, 2, 1, 2, 1, 1, 1, 2, 1, 1], 224
    ),
}


@contextmanager
def training_load(cores: list[int]) -> Iterator[list[int]]:
    """Keep one worker per core busy; yield their process ids."""
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(core)], stdout=subprocess.PIPE) for core in cores]
    try:
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        yield [worker.pid for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


@dataclass(frozen=True)
class LatencySample:
    """One measurement."""

    model: str
    condition: str
    latency_ms: float | None
    """None when no window was accepted."""
    rejected: tuple[str, ...]
    paused_s: float
    overhead_s: float
    """Time of the whole measurement without the first run, the warm-up, the re-warm and the timed runs."""


def measure(phone: HostPhone, model: bytes, settings: MeasurementSettings) -> tuple[LatencyRecord, float]:
    """Return the record, accepted or not, and the seconds it took."""
    started = time.perf_counter()
    try:
        record = phone.measure(model, settings)
    except PhoneUnstableError as error:
        if error.record is None:
            raise
        record = error.record
    return record, time.perf_counter() - started


def run(rounds: int, pause_limit_s: float) -> list[LatencySample]:
    """Return all samples, the conditions interleaved round by round."""
    cores = sorted(os.sched_getaffinity(0))
    settings = MeasurementSettings()
    # In the unprotected condition every measurement counts, as in a tool without a protocol.
    unprotected = replace(
        settings,
        contention_limit=10.0,
        relative_mad_limit=1.0,
        switches_per_s_limit=1e6,
        others_busy_limit=1e3,
        drift_limit=1e3,
    )
    pauser = ProcessPauser(pause_limit_s)
    victims: list[int] = []
    plain = HostPhone("plain", quiet=nullcontext)
    windowed = HostPhone("windowed", quiet=lambda: pauser.window(lambda: victims))
    models = {name: build() for name, build in MODELS.items()}
    samples = []
    try:
        for _ in range(rounds):
            for condition, phone, used in (
                ("quiet", plain, settings),
                ("windows", windowed, settings),
                ("load", plain, unprotected),
            ):
                with training_load([] if condition == "quiet" else cores) as pids:
                    victims[:] = pids
                    for name, model in models.items():
                        paused_s = pauser.paused_s
                        record, seconds = measure(phone, model, used)
                        samples.append(latency_sample(name, condition, record, seconds, pauser.paused_s - paused_s))
    finally:
        plain.close()
        windowed.close()
        pauser.close()
    return samples


def latency_sample(model: str, condition: str, record: LatencyRecord, seconds: float, paused_s: float) -> LatencySample:
    """Return what the tables need of one record."""
    windows = [session.window for session in record.sessions]
    windows += [rejected.window for rejected in record.rejected_windows]
    timed_s = sum(sum(window.wall_ms) for window in windows) / 1000
    loads = [session.loaded for session in record.sessions if session.loaded is not None]
    untimed_ms = sum(load.first_run_ms + load.warmup_ms for load in loads)
    untimed_ms += len(windows) * record.settings.rewarm_min_ms
    return LatencySample(
        model=model,
        condition=condition,
        latency_ms=record.latency_ms if record.accepted else None,
        rejected=tuple(rejected.reason for rejected in record.rejected_windows),
        paused_s=paused_s,
        overhead_s=seconds - timed_s - untimed_ms / 1000,
    )


def summary(samples: list[LatencySample]) -> list[dict[str, Any]]:
    """Return one row per model and condition; ratios are to the model's quiet median."""
    rows = []
    for model in MODELS:
        quiet_ms = median(accepted_ms(samples, model, "quiet"))
        for condition in ("quiet", "windows", "load"):
            latencies_ms = sorted(accepted_ms(samples, model, condition))
            chosen = [s for s in samples if (s.model, s.condition) == (model, condition)]
            rows.append(
                {
                    "model": model,
                    "condition": condition,
                    "median_ms": median(latencies_ms),
                    "ratio": median(latencies_ms) / quiet_ms,
                    "ratio_lowest": latencies_ms[0] / quiet_ms,
                    "ratio_highest": latencies_ms[-1] / quiet_ms,
                    "measurements": len(chosen),
                    "unstable": len(chosen) - len(latencies_ms),
                    "rejected_windows": sum(len(s.rejected) for s in chosen),
                    "paused_s": median(s.paused_s for s in chosen),
                    "overhead_s": median(s.overhead_s for s in chosen),
                }
            )
    return rows


def accepted_ms(samples: list[LatencySample], model: str, condition: str) -> list[float]:
    """Return the accepted latencies of one model in one condition."""
    latencies_ms = [
        s.latency_ms for s in samples if (s.model, s.condition) == (model, condition) and s.latency_ms is not None
    ]
    if not latencies_ms:
        raise SystemExit(f"{model}, {condition}: nothing was accepted; is the machine busy otherwise?")
    return latencies_ms


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--pause-limit-s", type=float, default=10.0)
    parser.add_argument("--json", action="store_true", help="print every sample too, as JSON")
    arguments = parser.parse_args()
    samples = run(arguments.rounds, arguments.pause_limit_s)
    rows = summary(samples)
    if arguments.json:
        print(json.dumps({"rows": rows, "samples": [asdict(s) for s in samples]}, indent=1))
        return
    print(" ".join(f"{name:>16}" for name in rows[0]))
    for row in rows:
        print(" ".join(f"{v:16.3f}" if isinstance(v, float) else f"{v:>16}" for v in row.values()))


if __name__ == "__main__":
    main()
