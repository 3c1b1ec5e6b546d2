import pytest
from onnx import TensorProto, helper

from latency.errors import CandidateError
from latency.measurement.reference_network import reference_model
from latency.pool.model_check import check_model


def model(sizes: list[int], node: str = "Relu", constants: dict[str, list[int]] | None = None) -> bytes:
    initializers = [
        helper.make_tensor(name, TensorProto.INT64, [len(values)], values) for name, values in (constants or {}).items()
    ]
    graph = helper.make_graph(
        [helper.make_node(node, ["x", *(constants or {})], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString())


def test_a_huge_input_is_the_candidates_fault() -> None:
    with pytest.raises(CandidateError, match=r"tensor 'x' of the model has 1.6e\+09 elements"):
        check_model(model([1, 1, 40_000, 40_000]))


def test_a_tensor_that_grows_inside_the_graph_is_the_candidates_fault() -> None:
    with pytest.raises(CandidateError, match="tensor 'y'"):
        check_model(model([1, 1], "Tile", {"repeats": [100_000, 100_000]}))


@pytest.mark.parametrize("content", [reference_model(), model([1, 3, 224, 224]), b"", b"no model", b"\x08\x08\x3a"])
def test_other_models_are_for_the_engine_to_judge(content: bytes) -> None:
    check_model(content)
