from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mnas.data import ImageArrays
from mnas.errors import DataError
from mnas.evaluation.accuracy import Evaluator, cross_entropies, label_ranks, score
from mnas.network.weights import FloatArray, initial_weights
from search_space.architecture import Architecture
from search_space.block_string import parse_block
from search_space.lowering import LoweredNetwork, lower

NETWORK = lower(
    Architecture((parse_block("r1_k3_s22_e3_i8_o8_se0.25"),), stem_filters=8, head_filters=16),
    image_size=16,
    channels=1,
    num_classes=7,
)


@pytest.fixture(scope="module")
def source(random_images: Callable[[LoweredNetwork, int], ImageArrays]) -> ImageArrays:
    return random_images(NETWORK, 45)


def test_the_rank_is_the_number_of_better_classes() -> None:
    logits = np.array([[3.0, 1, 2], [3, 1, 2], [3, 1, 2]])
    assert label_ranks(logits, np.array([0, 1, 2], np.int32)).tolist() == [0, 2, 1]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_network_that_answers_the_same_for_every_class_is_never_right(value: float) -> None:
    assert label_ranks(np.full((1, 7), value), np.array([3], np.int32)).tolist() == [6]


def test_cross_entropy_of_large_logits_is_exact() -> None:
    logits = np.array([[1000.0, 0, 0], [0, 0, 0]])
    assert cross_entropies(logits, np.array([1, 1], np.int32)) == pytest.approx([1000, np.log(3)])


def test_scores_are_means_over_all_images_whatever_the_batches(source: ImageArrays) -> None:
    def label_third_best(images: FloatArray) -> FloatArray:
        # The source's images come in order, so the labels of a batch follow from where it starts.
        start = calls.pop(0)
        labels = source.labels[start : start + len(images)]
        logits = np.zeros((len(images), 7), np.float32)
        logits[np.arange(len(images)), labels] = 1
        logits[np.arange(len(images)), (labels + 1) % 7] = 2
        logits[np.arange(len(images)), (labels + 2) % 7] = 2
        return logits

    calls = [0, 32]
    result = score(label_third_best, source, 32)
    assert (result.top1, result.top5, result.images) == (0, 1, 45)
    assert result.loss == pytest.approx(-1 + np.log(np.exp([1, 2, 2, 0, 0, 0, 0]).sum()))


def test_both_engines_agree_image_by_image_short_last_batch_included(source: ImageArrays) -> None:
    weights = initial_weights(NETWORK, seed=0)
    by_onnx = Evaluator(NETWORK, source, batch_size=32).evaluate(weights)
    by_mindspore = Evaluator(NETWORK, source, "mindspore", batch_size=32).evaluate(weights)
    assert by_mindspore.loss == pytest.approx(by_onnx.loss, rel=1e-5)
    assert by_mindspore == replace(by_onnx, loss=by_mindspore.loss)
    assert by_mindspore.images == 45


@pytest.mark.parametrize("other", [{"image_size": 32}, {"channels": 3}, {"num_classes": 10}])
def test_data_of_another_form_is_refused_with_both_forms(source: ImageArrays, other: dict[str, int]) -> None:
    form = {"image_size": 16, "channels": 1, "num_classes": 7} | other
    network: LoweredNetwork = lower(Architecture((parse_block("r1_k3_s11_e1_i32_o8"),)), **form)
    with pytest.raises(DataError, match=r"\(16, 1, 7\), the network is lowered for"):
        Evaluator(network, source)


def test_progress_is_told_after_every_batch(source: ImageArrays) -> None:
    done: list[int] = []
    score(lambda images: np.zeros((len(images), 7), np.float32), source, batch_size=20, on_batch=done.append)
    assert done == [20, 40, 45]
