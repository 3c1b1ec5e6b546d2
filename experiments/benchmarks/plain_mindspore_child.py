"""Train a child as a plain MindSpore script does, in a process of its own: a peer of `child_cost`.

    python -m experiments.benchmarks.plain_mindspore_child EXPERIMENT.yaml < architecture.json

Layers, optimizer, loss and evaluation are MindSpore's own, in graph mode, with MindSpore's defaults. The time of each
phase is printed as JSON. Weights have MindSpore's initial values: the cost of a child does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import msgspec
import numpy as np

from mnas.data import ImageForm, SearchData
from mnas.experiment import Experiment
from mnas.training.phases import PhaseTime, timed
from mnas.training.schedules import learning_rates
from mnas.training.settings import RmsPropSettings, TrainingSettings
from search_space import LoweredNetwork, architecture_from_dict


def main() -> None:
    """Train and evaluate the architecture of standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, help="its data and training are used")
    experiment = Experiment.load(parser.parse_args().experiment)
    data = experiment.data.load_search()
    network = ImageForm.of(data.train).lower(architecture_from_dict(json.load(sys.stdin)))
    print(json.dumps(msgspec.to_builtins(train(network, experiment.training, data))))


def train(network: LoweredNetwork, settings: TrainingSettings, data: SearchData) -> dict[str, PhaseTime]:
    """Train and evaluate; return the phases of `mnas.workers.child`, the second compilation within "evaluate"."""
    phases: dict[str, PhaseTime] = {}
    if not isinstance(settings.optimizer, RmsPropSettings):
        raise SystemExit("the plain script knows the optimizer rmsprop only")
    with timed(phases, "import"):
        import mindspore
        from mindspore import Tensor, nn

        from experiments.benchmarks.plain_mindspore_network import plain_network

        mindspore.set_context(mode=mindspore.GRAPH_MODE)
    with timed(phases, "build"):
        cell = plain_network(network, settings.norm_momentum)
        optimizer = nn.RMSProp(
            cell.trainable_params(),
            learning_rates(settings, len(data.train) // settings.batch_size).tolist(),
            decay=settings.optimizer.decay,
            momentum=settings.optimizer.momentum,
            epsilon=settings.optimizer.epsilon,
            weight_decay=settings.weight_decay,
        )
        step = nn.TrainOneStepCell(nn.WithLossCell(cell, nn.CrossEntropyLoss()), optimizer)
        step.set_train()
    form = (settings.batch_size, network.channels, network.image_size, network.image_size)
    with timed(phases, "compile"):
        step.compile(Tensor(np.zeros(form, np.float32)), Tensor(np.zeros(settings.batch_size, np.int32)))
    with timed(phases, "train"):
        for epoch in range(settings.epochs):
            for images, labels in data.train.training_batches(settings.batch_size, seed=0, epoch=epoch):
                loss = step(Tensor(images), Tensor(labels))
        loss.asnumpy()
    with timed(phases, "evaluate"):
        cell.set_train(False)
        right = 0
        for images, labels in data.reward.evaluation_batches(settings.batch_size):
            right += int(np.count_nonzero(cell(Tensor(images)).asnumpy().argmax(axis=1) == labels))
    print(f"accuracy {right / len(data.reward):.3f}", file=sys.stderr)
    return phases


if __name__ == "__main__":
    main()
