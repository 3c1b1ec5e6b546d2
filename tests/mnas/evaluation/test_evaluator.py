from collections.abc import Callable

import pytest

from mnas.data import ImageArrays
from mnas.evaluation.accuracy import Evaluator
from mnas.mindspore_setup import Compute
from mnas.network.weights import initial_weights
from search_space import Architecture, LoweredNetwork, lower, parse_block

NETWORK = lower(
    Architecture((parse_block("r1_k3_s22_e3_i8_o8"),), stem_filters=8, head_filters=16), image_size=16, num_classes=4
)


def test_both_engines_agree_on_one_weights_after_another(
    random_images: Callable[[LoweredNetwork, int], ImageArrays],
) -> None:
    source = random_images(NETWORK, 100)
    by_onnx = Evaluator(NETWORK, source, engine="onnx", compute=Compute(threads=1))
    by_mindspore = Evaluator(NETWORK, source, engine="mindspore", compute=Compute(threads=1))
    losses = []
    for seed in (0, 1):
        weights = initial_weights(NETWORK, seed)
        expected, found = by_onnx.evaluate(weights), by_mindspore.evaluate(weights)
        assert (found.top1, found.top5, found.images) == (expected.top1, expected.top5, 100)
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)
        losses.append(found.loss)
    assert losses[0] != losses[1]
