import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mnas.errors import WeightsError
from mnas.network.fusion import ConvolutionGroup
from mnas.network.weights import FloatArray, check_weights, fold_batch_norm, initial_weights
from search_space.architecture import Architecture
from search_space.block_string import parse_block
from search_space.counting import parameters
from search_space.lowering import BatchNorm, Convolution, lower

NETWORK = lower(
    Architecture((parse_block("r2_k5_s22_e6_i32_o32_se0.25"),), head_filters=512), image_size=32, num_classes=100
)


def test_weights_are_the_counted_parameters_in_order() -> None:
    weights = initial_weights(NETWORK, seed=0)
    assert [(name, value.shape) for name, value in weights.items()] == [
        (parameter.name, parameter.shape) for parameter in parameters(NETWORK)
    ]
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    first, second, other = (initial_weights(NETWORK, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["stem.conv.weight"], other["stem.conv.weight"])


@pytest.mark.parametrize(
    ("name", "fan_out"),
    [("blocks.0.0.expand", 192), ("blocks.0.0.depthwise", 25), ("blocks.0.0.project", 32), ("head.conv", 512)],
)
def test_convolutions_start_he_normal_by_the_fan_out_of_one_group(name: str, fan_out: int) -> None:
    weight = initial_weights(NETWORK, seed=0)[f"{name}.weight"]
    assert weight.std() == pytest.approx(np.sqrt(2 / fan_out), rel=0.05)
    assert abs(weight.mean()) < 0.1 * weight.std()


def test_the_classifier_starts_uniform_within_one_over_the_root_of_the_classes() -> None:
    weight = initial_weights(NETWORK, seed=0)["classifier.weight"]
    assert np.abs(weight).max() == pytest.approx(0.1, rel=0.01)
    assert weight.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.02)


def test_norms_start_as_the_identity() -> None:
    weights = initial_weights(NETWORK, seed=0)
    for part, value in (("gamma", 1), ("beta", 0), ("moving_mean", 0), ("moving_variance", 1)):
        assert np.all(weights[f"stem.norm.{part}"] == value)


def test_missing_weights_are_named() -> None:
    weights = initial_weights(NETWORK, seed=0)
    del weights["head.norm.beta"]
    with pytest.raises(WeightsError, match=r"1 parameters have no weights.*'head\.norm\.beta'"):
        check_weights(NETWORK, weights)


def test_weights_of_no_parameter_are_named() -> None:
    weights = initial_weights(NETWORK, seed=0) | {"tail.weight": np.zeros(3, np.float32)}
    with pytest.raises(WeightsError, match=r"'tail\.weight'.*another network"):
        check_weights(NETWORK, weights)


def test_weights_of_another_shape_are_named_with_both_shapes() -> None:
    weights = initial_weights(NETWORK, seed=0) | {"classifier.bias": np.zeros(10, np.float32)}
    with pytest.raises(WeightsError, match=r"'classifier\.bias' have shape \(10,\), the network needs \(100,\)"):
        check_weights(NETWORK, weights)


@pytest.mark.parametrize(("channels", "groups", "stride"), [((3, 8), 1, 1), ((6, 6), 6, 2)])
def test_a_folded_convolution_equals_convolution_and_norm(channels: tuple[int, int], groups: int, stride: int) -> None:
    inputs, outputs = channels
    group = ConvolutionGroup(Convolution("c", inputs, outputs, 3, stride, groups, 5), BatchNorm("n", outputs), None)
    generator = np.random.default_rng(0)
    weights = {
        "c.weight": generator.standard_normal((outputs, inputs // groups, 3, 3)).astype(np.float32),
        "n.gamma": generator.uniform(-2, 2, outputs).astype(np.float32),
        "n.beta": generator.standard_normal(outputs).astype(np.float32),
        "n.moving_mean": generator.standard_normal(outputs).astype(np.float32),
        "n.moving_variance": generator.uniform(1e-3, 4, outputs).astype(np.float32),
    }

    def convolve(weights: list[str], output: str) -> onnx.NodeProto:
        return helper.make_node("Conv", ["x", *weights], [output], pads=[1] * 4, strides=[stride] * 2, group=groups)

    unfolded = [
        convolve(["c.weight"], "c"),
        helper.make_node(
            "BatchNormalization",
            ["c", "n.gamma", "n.beta", "n.moving_mean", "n.moving_variance"],
            ["y"],
            epsilon=1e-3,
        ),
    ]
    weight, bias = fold_batch_norm(group, weights)
    folded = [convolve(["weight", "bias"], "y")]
    x = generator.standard_normal((2, inputs, 9, 9)).astype(np.float32)
    np.testing.assert_allclose(
        _run(folded, {"weight": weight, "bias": bias}, x), _run(unfolded, weights, x), rtol=1e-5, atol=1e-5
    )


def _run(nodes: list[onnx.NodeProto], constants: dict[str, FloatArray], x: FloatArray) -> FloatArray:
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"x": x})[0], np.float32)
