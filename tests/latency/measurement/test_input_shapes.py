from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from latency.measurement.input_shapes import OpenShapeError, parse_shape, resolve_shape, with_shapes


@pytest.mark.parametrize(
    ("dimensions", "shape"),
    [
        ([1, 3, 224, 224], (1, 3, 224, 224)),
        ([8, 3, 32, 32], (8, 3, 32, 32)),
        (["batch", 3, 8, 8], (1, 3, 8, 8)),
        (["N", 3, 8, 8], (1, 3, 8, 8)),
        ([None, 3], (1, 3)),
        (["unk__17", 10], (1, 10)),
        (["input_dynamic_axes_1", 10], (1, 10)),
        (["batch_size"], (1,)),
        ([], ()),
    ],
)
def test_only_a_leading_batch_is_one(dimensions: list[Any], shape: tuple[int, ...]) -> None:
    assert resolve_shape("x", dimensions) == shape


@pytest.mark.parametrize(
    ("dimensions", "names"),
    [
        (["batch", 3, "height", "width"], "dimension 2 (height)"),
        (["batch", 3, None, 8], "dimension 2 is not fixed"),
        ([1, "batch"], "dimension 1 (batch)"),
        (["sequence", 1, 8], "dimension 0 (sequence)"),
        (["seq_len", 8], "dimension 0 (seq_len)"),
        (["length"], "dimension 0 (length)"),
        ([None], "dimension 0 is not fixed"),
        ([1, 0, 3], "dimension 1 is 0"),
    ],
)
def test_any_other_open_dimension_is_refused_by_name(dimensions: list[Any], names: str) -> None:
    with pytest.raises(OpenShapeError) as caught:
        resolve_shape("x", dimensions)
    assert "input 'x'" in str(caught.value)
    assert names in str(caught.value)


def test_the_refusal_shows_what_to_type() -> None:
    with pytest.raises(OpenShapeError, match="--shape images=1,3,HEIGHT,WIDTH"):
        resolve_shape("images", ["batch", 3, "height", "width"])


def model(*dimensions: Any) -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dimensions)) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "graph", values[:1], values[1:])
    return bytes(helper.make_model(graph).SerializeToString())


def test_a_given_shape_is_written_into_the_model() -> None:
    shaped = onnx.load_model_from_string(with_shapes(model("batch", 3, "height", None), {"x": (1, 3, 64, 32)}))
    assert [size.dim_value for size in shaped.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 32]


def test_without_shapes_the_bytes_stay() -> None:
    assert with_shapes(b"anything", {}) == b"anything"


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1,)}, "no input 'z'; it has 'x'"),
        ({"x": (1, 3)}, "has 3 dimensions; 2 are given"),
        ({"x": (1, 4, 8)}, "dimension 1 is fixed at 3; 4 is given"),
        ({"x": (1, 3, 0)}, "whole numbers above 0"),
        ({"x": (1, 3, True)}, "whole numbers above 0"),
        ({"x": (1, 3, 2.0)}, "whole numbers above 0"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_shapes(model("batch", 3, "height"), shapes)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("x=1,3,8", ("x", (1, 3, 8))), ("a=b:0=1x3", ("a=b:0", (1, 3))), ("x=7", ("x", (7,)))],
)
def test_a_shape_is_read_from_the_command_line(text: str, parsed: Any) -> None:
    assert parse_shape(text) == parsed


@pytest.mark.parametrize("text", ["", "x", "x=", "=1,2", "x=1,,2", "x=0", "x=-1", "x=1.5", "x=99999999999"])
def test_other_texts_are_no_shape(text: str) -> None:
    with pytest.raises(ValueError, match="is not INPUT=SIZES"):
        parse_shape(text)
