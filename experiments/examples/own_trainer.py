"""Search without training: formulas take the places of the training and of the phone. A second."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import mnas
from search_space import cost, format_block, lower

threads = ThreadPoolExecutor()
form = {"image_size": 16, "channels": 1, "num_classes": 10}


class SizeTrainer:
    """Takes the place of training: the more parameters a network has, the more accurate it is."""

    def submit(self, architecture: mnas.Architecture, seed: int) -> Future[Mapping[str, float]]:
        # The mapping may hold more, which is stored with the trial.
        parameters = cost(lower(architecture, **form)).trainable_params
        return threads.submit(lambda: {"accuracy": min(1.0, parameters / 20_000)})


class WorkMeter:
    """Takes the place of a phone, one that computes a million multiply-adds in a millisecond."""

    def submit(self, architecture: mnas.Architecture) -> Future[Mapping[str, float]]:
        multiply_adds = cost(lower(architecture, **form)).multiply_adds
        return threads.submit(lambda: {"latency_ms": multiply_adds / 1e6})


experiment = mnas.Experiment.load("quickstart").changed({"search.trials": 100, "latency.target_ms": 0.4})
run = experiment.run("runs/example_trainer", trainer=SizeTrainer(), latency=WorkMeter())
print(f"reward {run.best().reward:.4f}", *map(format_block, run.architecture(run.best()).blocks), sep="\n")
