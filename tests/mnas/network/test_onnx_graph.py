import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from mnas.errors import WeightsError
from mnas.network.onnx_graph import build_onnx
from mnas.network.weights import initial_weights
from search_space.architecture import Architecture, Block
from search_space.block_string import parse_block
from search_space.lowering import lower
from search_space.space import SearchSpace

SMALL = lower(
    Architecture((parse_block("r2_k3_s22_e3_i8_o8_se0.25"),), stem_filters=8, head_filters=32, activation="relu6"),
    image_size=16,
    channels=1,
    num_classes=7,
)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space_name", SearchSpace.names())
def test_random_architectures_of_every_space_pass_the_checker(space_name: str, seed: int) -> None:
    space = SearchSpace.load(space_name)
    architecture = space.decode(space.sample(np.random.default_rng(seed)))
    model = build_onnx(lower(architecture, image_size=space.image_size, num_classes=10))
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shape = inferred.graph.output[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param, shape[1].dim_value) == ("batch", 10)


def test_the_interface_is_input_to_logits_with_a_free_batch_size() -> None:
    session = onnxruntime.InferenceSession(build_onnx(SMALL).SerializeToString())
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("input", "tensor(float)", ["batch", 1, 16, 16])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 7])


def test_the_model_is_of_the_versions_that_phones_read_and_names_its_producer() -> None:
    model = build_onnx(SMALL)
    assert (model.ir_version, model.opset_import[0].version, model.producer_name) == (7, 13, "mnas")
    assert model.producer_version


def test_batch_norms_are_folded_away() -> None:
    operators = {node.op_type for node in build_onnx(SMALL).graph.node}
    assert operators == {"Conv", "Clip", "GlobalAveragePool", "Relu", "Sigmoid", "Mul", "Add", "Flatten", "Gemm"}


def test_constants_keep_the_names_of_the_parameters() -> None:
    names = {constant.name for constant in build_onnx(SMALL).graph.initializer}
    assert {"stem.conv.weight", "stem.conv.bias", "blocks.0.1.se.reduce.bias", "classifier.weight"} <= names


def test_without_weights_the_constants_are_the_same_every_time_and_never_denormal() -> None:
    model, again = build_onnx(SMALL), build_onnx(SMALL)
    assert model.SerializeToString() == again.SerializeToString()
    for constant in model.graph.initializer:
        values = np.abs(onnx.numpy_helper.to_array(constant))
        assert np.all((values == 0) | (values >= np.finfo(np.float32).tiny)), constant.name


def test_weights_of_another_network_are_refused() -> None:
    other = lower(Architecture((parse_block("r1_k3_s11_e1_i32_o16"),)), image_size=16, channels=1, num_classes=7)
    with pytest.raises(WeightsError):
        build_onnx(SMALL, initial_weights(other, seed=0))


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("filters", [2, 4, 6])
def test_the_pool_skip_adds_the_mean_of_the_neighbours_that_exist_and_fits_channels(
    size: int, stride: int, filters: int
) -> None:
    block = Block("conv", 1, 1, stride, 1, in_filters=4, out_filters=filters, skip="pool")
    architecture = Architecture((block,), stem_filters=4, stem_stride=1, head_filters=8)
    network = lower(architecture, image_size=size, channels=3, num_classes=2)
    weights = initial_weights(network, seed=0)
    weights["blocks.0.0.conv.weight"][:] = 0  # leaves nothing but the shortcut
    model = build_onnx(network, weights)
    for name in ("stem.conv.relu:0", "blocks.0.0.add:0"):
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    images = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    _, before, after = session.run(None, {"input": images})
    pooled = mean_of_existing_neighbours(before, stride)
    expected = np.zeros_like(after)
    shared = min(4, filters)
    expected[:, :shared] = pooled[:, :shared]
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)


def mean_of_existing_neighbours(images: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """3x3 average pooling as TensorFlow's SAME with its padding left out of the mean."""
    size = images.shape[2]
    out = -(-size // stride)
    before = max(0, (out - 1) * stride + 3 - size) // 2
    pooled = np.empty((*images.shape[:2], out, out), np.float32)
    for row in range(out):
        for column in range(out):
            top, left = row * stride - before, column * stride - before
            window = images[:, :, max(0, top) : top + 3, max(0, left) : left + 3]
            pooled[:, :, row, column] = window.mean(axis=(2, 3))
    return pooled
