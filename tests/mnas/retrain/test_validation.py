"""The processes of a training validate together: the sums of their shares are the accuracy of the whole."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

from mnas.data import DigitsSettings, ImageArrays
from mnas.evaluation.accuracy import Evaluator
from mnas.mindspore_setup import Compute
from mnas.network.weights import FloatArray, Weights, initial_weights
from mnas.retrain.processes import Process
from mnas.retrain.validation import Validator, share_of
from search_space import Architecture, lower, parse_block

NETWORK = lower(
    Architecture((parse_block("r1_k3_s22_e3_i8_o8"),), stem_filters=8, head_filters=16),
    image_size=16,
    channels=1,
    num_classes=10,
)


def weights_of(rank: int) -> Weights:
    """Return weights that differ between processes, as moving statistics do."""
    return {name: value + np.float32(rank) for name, value in initial_weights(NETWORK, seed=0).items()}


class Processes:
    """Adds up vectors of several threads."""

    def __init__(self, ranks: int) -> None:
        self._barrier, self._sums = threading.Barrier(ranks), dict[int, FloatArray]()

    def add_up(self, rank: int, values: FloatArray) -> FloatArray:
        self._sums[rank] = values
        self._barrier.wait(30)
        total = np.sum(list(self._sums.values()), axis=0, dtype=np.float32)
        self._barrier.wait(30)
        return np.asarray(total, np.float32)


@pytest.fixture(scope="module")
def images() -> ImageArrays:
    return cast(ImageArrays, DigitsSettings(image_size=16).load_full().test).select(np.arange(101))


def validate(images: ImageArrays, ranks: int) -> list[Any]:
    processes = Processes(ranks)

    def run(rank: int) -> Any:
        process = Process(rank, ranks)
        share = share_of(images, process)
        evaluator = None if share is None else Evaluator(NETWORK, share, compute=Compute(threads=1))
        add_up = (lambda values: processes.add_up(rank, values)) if ranks > 1 else None
        return Validator(evaluator, process, add_up).validate(weights_of(rank), of_ema=True)

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(run, range(ranks)))


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_shares_add_up_to_the_whole_with_the_weights_of_the_first(images: ImageArrays, ranks: int) -> None:
    (whole,) = validate(images, 1)
    for found in validate(images, ranks):
        assert (found.images, found.of_ema) == (101, True)
        assert (found.top1, found.top5) == (whole.top1, whole.top5)
        assert found.loss == pytest.approx(whole.loss, rel=1e-5)


def test_more_processes_than_images_leave_some_without(images: ImageArrays) -> None:
    few = images.select(np.arange(2))
    shares = [share_of(few, Process(rank, 3)) for rank in range(3)]
    assert [share and len(share) for share in shares] == [1, 1, None]
    assert validate(few, 3)[0].images == 2
