from collections.abc import Callable

import pytest

from mnas.data import ImageArrays
from mnas.errors import WeightsError
from mnas.evaluation.accuracy import Evaluator
from mnas.evaluation.classifiers import Engine
from mnas.mindspore_setup import Compute, Device, prepare_mindspore
from mnas.network.onnx_graph import build_onnx
from mnas.network.weights import initial_weights
from search_space import Architecture, LoweredNetwork, lower, parse_block

NETWORK = lower(
    Architecture((parse_block("r1_k3_s22_e3_i8_o8"),), stem_filters=8, head_filters=16), image_size=16, num_classes=4
)
ONE_THREAD = Compute(threads=1)


@pytest.fixture(scope="module")
def source(random_images: Callable[[LoweredNetwork, int], ImageArrays]) -> ImageArrays:
    return random_images(NETWORK, 100)


def test_both_engines_agree_on_one_weights_after_another(source: ImageArrays) -> None:
    by_onnx = Evaluator(NETWORK, source, "onnx", ONE_THREAD)
    by_mindspore = Evaluator(NETWORK, source, "mindspore", ONE_THREAD)
    losses = []
    for seed in (0, 1):
        weights = initial_weights(NETWORK, seed)
        expected, found = by_onnx.evaluate(weights), by_mindspore.evaluate(weights)
        assert (found.top1, found.top5, found.images) == (expected.top1, expected.top5, 100)
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)
        losses.append(found.loss)
    assert losses[0] != losses[1]


def test_one_graph_is_compiled_for_all_weights(source: ImageArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_mindspore(ONE_THREAD)
    from mindspore.nn import cell

    executor = type(cell._cell_graph_executor)
    compile_graph, compiled = executor.compile, []

    def count(*arguments: object, **options: object) -> tuple[str, bool]:
        phase, is_new = compile_graph(*arguments, **options)
        compiled.append(is_new)
        return phase, is_new

    monkeypatch.setattr(executor, "compile", count)
    evaluator = Evaluator(NETWORK, source, "mindspore", ONE_THREAD)
    for seed in (0, 1):
        evaluator.evaluate(initial_weights(NETWORK, seed))
    assert compiled.count(True) == 1


def test_a_ready_onnx_model_is_evaluated_like_its_weights(source: ImageArrays) -> None:
    evaluator, weights = Evaluator(NETWORK, source, "onnx", ONE_THREAD), initial_weights(NETWORK, 0)
    model = build_onnx(NETWORK, weights).SerializeToString()
    assert evaluator.evaluate_onnx(model) == evaluator.evaluate(weights)


@pytest.mark.parametrize("engine", ["onnx", "mindspore"])
def test_weights_of_another_network_are_refused(source: ImageArrays, engine: Engine) -> None:
    evaluator, weights = Evaluator(NETWORK, source, engine, ONE_THREAD), initial_weights(NETWORK, 0)
    evaluator.evaluate(weights)
    del weights["classifier.bias"]
    with pytest.raises(WeightsError, match=r"classifier\.bias"):
        evaluator.evaluate(weights)


@pytest.mark.parametrize(("device", "engine"), [("CPU", "onnx"), ("Ascend", "mindspore")])
def test_the_engine_is_the_faster_one_on_the_device(source: ImageArrays, device: Device, engine: Engine) -> None:
    assert Evaluator(NETWORK, source, compute=Compute(device)).engine == engine
