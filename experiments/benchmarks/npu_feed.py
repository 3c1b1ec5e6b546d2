"""Measure whether a host feeds an NPU in time; no NPU is used.

    python -m experiments.benchmarks.npu_feed DIRECTORY --results FILE.json

Two ways are compared: `before`, where the thread of the steps prepares normalized float32, and `now`, the feed of an
NPU, whose own thread prepares uint8 ahead (`mnas.training.feed`).

    pipeline  DIRECTORY/val/CLASS/*.JPEG are decoded, cut (8-100% of the area) and resized to 224, their colours
              changed by 0.4 or not, and put into batches of 256 tensors: images per second of the pipeline alone on 1,
              2, 4, ... cores, per CPU second of the process, and the memory that is added
    steps     a trainer's steps on decoded images, with a stand-in for the device that sleeps 175.6 ms for a batch of
              256, MindCV's step of MnasNet-0.75 on an Ascend 910*. `synchronous`: a step returns when it is done;
              `asynchronous`: at once, and only reading a loss waits. The stand-in copies nothing to a device.
    parts     milliseconds of each part of the host's work on a batch

Every case runs in a process of its own. Rounds take turns over the cases; results are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from mnas.data import ImageArrays, ImageSource, Preprocessing, StreamedImages
from mnas.data.folder import list_test
from mnas.data.preprocessing import AugmentationDraws
from mnas.mindspore_setup import Compute, Device, prepare_mindspore
from mnas.training.feed import Feed, feed_for
from mnas.training.schedules import dropout_mask
from mnas.training.settings import TrainingSettings
from mnas.training.trainer import Trainer
from search_space import Architecture, lower, parse_block

if TYPE_CHECKING:
    from mindspore.nn import Cell

MODULE = "experiments.benchmarks.npu_feed"
IMAGE_SIZE, BATCH_SIZE, CLASSES, FEATURES = 224, 256, 1000, 1280
STEP_S = 0.1756
# MindCV's images a second on one card, and on eight.
NEEDED = {1: 11_663 / 8, 8: 11_663}
BATCHES, STEPS, REPEATS = 8, 12, 10
PREPROCESSING = Preprocessing(crop=0, flip=True, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
WAYS: dict[str, Callable[[ImageSource], Feed]] = {
    "before": lambda source: feed_for(source, "CPU"),
    "now": lambda source: feed_for(source, "Ascend"),
}


class StandInDevice:
    """Computes nothing, in the time of a step.

    Attributes:
        waited_s: Time for which its caller has waited.
    """

    def __init__(self, step_s: float, *, asynchronous: bool) -> None:
        self.waited_s = 0.0
        self._step_s, self._asynchronous, self._free_at = step_s, asynchronous, 0.0

    def __call__(self, *_: object) -> StandInLoss:
        """Take a step."""
        self._free_at = max(time.perf_counter(), self._free_at) + self._step_s
        if not self._asynchronous:
            self.wait(self._free_at)
        return StandInLoss(self, self._free_at)

    def wait(self, until: float) -> None:
        """Wait for the end of a step."""
        remaining_s = max(0.0, until - time.perf_counter())
        time.sleep(remaining_s)
        self.waited_s += remaining_s


@dataclass(frozen=True)
class StandInLoss:
    """The loss of a step of the stand-in; reading it waits for the step."""

    device: StandInDevice
    done_at: float

    def asnumpy(self) -> np.float32:
        """Wait, and return 1."""
        self.device.wait(self.done_at)
        return np.float32(1)


@dataclass(frozen=True)
class StandInFeed(Feed):
    """A feed whose batches go to a stand-in."""

    device: StandInDevice | None = None

    def cell(self, step: Cell) -> Cell:
        """Return the stand-in."""
        return self.device


def pipeline(way: str, jitter: float, cores: int, directory: Path) -> dict[str, float]:
    """Read an epoch from files, on some cores; the first epoch, which fills the caches, is not counted."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    prepare_mindspore(Compute(threads=1))
    from mindspore import Tensor

    listing = list_test(directory, "val", None)
    source = StreamedImages(
        listing=listing.select(np.arange(BATCHES * BATCH_SIZE) % len(listing)),
        image_size=IMAGE_SIZE,
        random_parts=True,
        color_jitter=jitter,
        interpolation="bilinear",
        evaluation_crop=0.875,
        workers=cores,
        preprocessing=PREPROCESSING,
    )
    feed = WAYS[way](source)

    def tensors(epoch: int) -> Generator[list[Any], None, None]:
        for batch in feed.batches(BATCH_SIZE, seed=0, epoch=epoch, batches=range(BATCHES)):
            yield [Tensor(array) for array in batch]

    before_mb = _resident_mb()
    peak_mb = before_mb
    for epoch in range(2):
        start, cpu_start = time.perf_counter(), time.process_time()
        with feed.prepared(tensors(epoch)) as batches:
            for _ in batches:
                peak_mb = max(peak_mb, _resident_mb())
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    images = BATCHES * BATCH_SIZE
    return {"images_per_s": images / wall_s, "images_per_cpu_s": images / cpu_s, "memory_mb": peak_mb - before_mb}


def steps(way: str, asynchronous: bool) -> dict[str, float]:
    """Take the steps of an epoch on a stand-in."""
    source = _decoded(STEPS * BATCH_SIZE)
    device = StandInDevice(STEP_S, asynchronous=asynchronous)

    def feed(images: ImageSource, _: Device) -> Feed:
        chosen = WAYS[way](images)
        return StandInFeed(chosen.source, chosen.pixels, chosen.ahead, device)

    network = lower(
        Architecture((parse_block("r1_k3_s22_e1_i8_o8"),), stem_filters=8, head_filters=FEATURES),
        image_size=IMAGE_SIZE,
        num_classes=CLASSES,
    )
    settings = TrainingSettings(epochs=1, batch_size=BATCH_SIZE, learning_rate=0.01, dropout=0.2)
    trainer = Trainer(network, settings, source, seed=0, compute=Compute(threads=1), compiles=False, feed=feed)
    before_mb = _resident_mb()
    peak_mb = before_mb
    start = time.perf_counter()
    for _ in trainer.steps(0, range(STEPS)):
        peak_mb = max(peak_mb, _resident_mb())
    wall_s = time.perf_counter() - start
    return {
        "ms_per_step": 1000 * wall_s / STEPS,
        "device_idle_share": 1 - STEPS * STEP_S / wall_s,
        "step_thread_busy_share": 1 - device.waited_s / wall_s,
        "memory_mb": peak_mb - before_mb,
    }


def parts() -> dict[str, float]:
    """Time the parts of the host's work on a batch, in milliseconds."""
    prepare_mindspore(Compute(threads=1))
    from mindspore import Tensor

    images = _decoded(BATCH_SIZE).images
    draws = AugmentationDraws.for_epoch(BATCH_SIZE, PREPROCESSING, seed=0, epoch=0)
    planes = PREPROCESSING.cut(images, draws)
    normalized = PREPROCESSING.finish(planes, draws.flipped)
    work: dict[str, Callable[[], object]] = {
        "cut (here: NHWC to NCHW), uint8": lambda: PREPROCESSING.cut(images, draws),
        "flip and normalize": lambda: PREPROCESSING.finish(planes, draws.flipped),
        "Tensor of float32": lambda: Tensor(normalized),
        "Tensor of uint8": lambda: Tensor(planes),
        "dropout mask": lambda: dropout_mask(0.2, (BATCH_SIZE, FEATURES), seed=0, epoch=0, micro_batch=0),
    }
    return {name: 1000 * statistics.median(_seconds(act) for _ in range(REPEATS)) for name, act in work.items()}


def cores_needed(images_per_cpu_s: float) -> dict[int, float]:
    """Return the cores that keep cards supplied, by the number of cards."""
    return {cards: needed / images_per_cpu_s for cards, needed in NEEDED.items()}


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _decoded(count: int) -> ImageArrays:
    shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
    return ImageArrays(
        images=np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8),
        labels=np.zeros(count, np.int32),
        class_names=tuple(str(number) for number in range(CLASSES)),
        preprocessing=PREPROCESSING,
    )


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


def _core_counts() -> list[int]:
    cores = len(os.sched_getaffinity(0))
    return sorted({*(2**power for power in range(cores.bit_length()) if 2**power <= cores), cores})


def cases() -> list[tuple[str, dict[str, Any]]]:
    """Return what is measured: the name of a function, and its arguments."""
    streamed = [
        ("pipeline", {"way": way, "jitter": jitter, "cores": cores})
        for cores in _core_counts()
        for jitter in (0.0, 0.4)
        for way in WAYS
    ]
    stepped = [("steps", {"way": way, "asynchronous": asynchronous}) for asynchronous in (False, True) for way in WAYS]
    return [*streamed, *stepped, ("parts", {})]


def measure(name: str, arguments: dict[str, Any], directory: Path) -> dict[str, float]:
    """Measure a case in this process."""
    if name == "pipeline":
        return pipeline(**arguments, directory=directory)
    return steps(**arguments) if name == "steps" else parts()


def _in_own_process(name: str, arguments: dict[str, Any], directory: Path) -> dict[str, float]:
    command = [sys.executable, "-m", MODULE, str(directory), "--case", json.dumps([name, arguments])]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(each[key] for each in rounds), 3) for key in rounds[0]}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, help="write the results to this JSON file, too")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        name, options = json.loads(arguments.case)
        print(json.dumps(measure(name, options, arguments.directory)))
        return
    measured = [
        [_in_own_process(name, options, arguments.directory) for name, options in cases()]
        for _ in range(arguments.rounds)
    ]
    results = [
        {"what": name, **options, **_medians(rounds)}
        for (name, options), rounds in zip(cases(), zip(*measured, strict=True), strict=True)
    ]
    for each in results:
        if each["what"] == "pipeline":
            each["cores_for_cards"] = {
                cards: round(cores, 1) for cards, cores in cores_needed(each["images_per_cpu_s"]).items()
            }
        print(json.dumps(each))
    if arguments.results is not None:
        document = {"command": f"python -m {MODULE} DIRECTORY", "rounds": arguments.rounds, "results": results}
        arguments.results.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
