"""One child of the search: a short training, then its accuracy on the reward set."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from mnas.data import ImageSource
from mnas.evaluation.accuracy import evaluate
from mnas.mindspore_setup import Device
from mnas.phases import PhaseTime, timed
from mnas.training import train
from mnas.training_settings import TrainingSettings
from search_space.architecture import Architecture
from search_space.lowering import lower


@dataclass(frozen=True)
class ChildResult:
    """What a child showed and what it cost.

    accuracy, loss: top-1 and mean cross entropy on the reward set.
    train_loss: mean training loss of the last epoch.
    images_per_s: of the training phase.
    phases: "import", "build", "compile", "train" (as of `TrainingResult`) and "evaluate".
    resident_mb: memory of the process at the end, in 10^6 bytes; MindSpore releases no compiled graph, so it grows
        with each child.
    """

    accuracy: float
    loss: float
    train_loss: float
    steps: int
    images_per_s: float
    phases: dict[str, PhaseTime]
    resident_mb: float


def train_child(
    architecture: Architecture,
    settings: TrainingSettings,
    train_source: ImageSource,
    reward_source: ImageSource,
    *,
    seed: int,
    device: Device = "CPU",
    threads: int | None = None,
) -> ChildResult:
    """Train an architecture and measure its accuracy on the reward set, in this process.

    Raises what `mnas.training.train` and `mnas.evaluation.accuracy.evaluate` raise.
    """
    network = lower(
        architecture,
        image_size=train_source.image_size,
        channels=train_source.channels,
        num_classes=train_source.num_classes,
    )
    result = train(network, settings, train_source, seed=seed, device=device, threads=threads)
    phases = dict(result.phases)
    with timed(phases, "evaluate"):
        evaluation = evaluate(network, result.weights, reward_source, device=device, threads=threads)
    return ChildResult(
        accuracy=evaluation.top1,
        loss=evaluation.loss,
        train_loss=result.final_loss,
        steps=result.steps,
        images_per_s=result.images_per_s,
        phases=phases,
        resident_mb=psutil.Process().memory_info().rss / 1e6,
    )
