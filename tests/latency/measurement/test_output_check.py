from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from latency.measurement.output_check import SUMS, check_output, difference, numbers_of, output_sums
from latency.measurement.protocol import MeasurementSettings

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(size=1000)
SOFTMAX = (np.exp(0.01 * LOGITS) / np.exp(0.01 * LOGITS).sum()).astype(np.float32)


def apart(found: Any, expected: Any) -> float | None:
    return difference(output_sums([np.asarray(found)]), output_sums([np.asarray(expected)]))


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_an_output_does_not_differ_from_itself(values: list[float]) -> None:
    assert apart(values, values) in (0.0, None)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (SOFTMAX[::-1], SOFTMAX),
        (np.sort(SOFTMAX), SOFTMAX),
        (-SOFTMAX, SOFTMAX),
        (np.arange(10)[::-1], np.arange(10)),
        (np.array([3], np.int64), np.array([7], np.int64)),
        (np.array([True, False]), np.array([False, True])),
        ([0.0, 0.0], [0.0, 1e-3]),
        ([1.0, math.nan], [math.nan, 1.0]),
        ([math.nan], [math.inf]),
        ([math.inf], [-math.inf]),
        ([1.0, math.nan], [1.5, math.nan]),
        (np.full(4, 0.25, np.float16), np.array([0.2, 0.3, 0.25, 0.25], np.float16)),
    ],
    ids=[
        *("softmax reversed", "softmax sorted", "negated", "integers reversed", "one integer", "booleans"),
        *("zeros", "NaN elsewhere", "NaN for infinity", "sign of infinity", "finite part", "half"),
    ],
)
def test_another_output_is_seen(found: Any, expected: Any) -> None:
    assert (apart(found, expected) or 0.0) > 1e-3


def test_the_difference_is_that_of_the_elements_as_a_share_of_the_output() -> None:
    noise = GENERATOR.normal(size=1000) * 1e-3
    true = float(np.linalg.norm(noise) / np.linalg.norm(LOGITS))
    # Eight signed sums estimate it within a factor of two.
    assert true / 2 < (apart(LOGITS + noise, LOGITS) or 0.0) < 2 * true


def test_outputs_of_another_size_differ_whatever_their_signed_sums() -> None:
    sums = output_sums([LOGITS])
    assert (difference((4 * sums[0], *sums[1:]), sums) or 0.0) > 0.1


def test_a_small_output_counts_as_much_as_a_large_one() -> None:
    large, small = np.full(10, 1e6), np.arange(1.0, 11.0)
    assert (difference(output_sums([large, small[::-1]]), output_sums([large, small])) or 0.0) > 0.1


@pytest.mark.parametrize("outputs", [[], [np.zeros(5)], [np.full(3, np.nan)], [np.array(["a"])], [["sequence"]]])
def test_an_output_that_tells_nothing_is_said_to(outputs: list[object]) -> None:
    sums = output_sums(outputs)
    same, check = check_output(sums, sums, "fp32", MeasurementSettings())
    assert (same, check.compared, check.difference) == (True, False, None)


def test_outputs_of_another_number_differ() -> None:
    assert difference((1.0,) * SUMS, (1.0,) * 2 * SUMS) == math.inf
    assert difference((1.0,), (1.0,)) == math.inf


@pytest.mark.parametrize(("numbers", "accepted"), [("fp32", False), ("fp16", True), ("quantised", True)])
def test_the_tolerance_is_that_of_the_models_numbers(numbers: Any, accepted: bool) -> None:
    found = LOGITS * (1 + 1e-3 * GENERATOR.normal(size=1000))
    same, check = check_output(output_sums([found]), output_sums([LOGITS]), numbers, MeasurementSettings())
    assert (same, check.numbers) == (accepted, numbers)


def model(nodes: list[Any], kind: int = TensorProto.FLOAT, weights: tuple[Any, ...] = ()) -> bytes:
    values = [helper.make_tensor_value_info(name, kind, [4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], list(weights))
    return bytes(helper.make_model(graph).SerializeToString())


def half_inside() -> bytes:
    return model([helper.make_node("Cast", ["x"], ["h"], to=10), helper.make_node("Cast", ["h"], ["y"], to=1)])


def half_weight() -> bytes:
    weight = numpy_helper.from_array(np.ones(4, np.float16), "w")
    return model([helper.make_node("Neg", ["x"], ["y"])], weights=(weight,))


def quantised_in_a_branch() -> bytes:
    body = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])],
        "then",
        [],
        [helper.make_tensor_value_info("q", TensorProto.UINT8, [4])],
    )
    return model([helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body)])


@pytest.mark.parametrize(
    ("make", "numbers"),
    [
        (lambda: model([helper.make_node("Neg", ["x"], ["y"])]), "fp32"),
        (lambda: model([helper.make_node("Neg", ["x"], ["y"])], TensorProto.FLOAT16), "fp16"),
        (half_inside, "fp16"),
        (half_weight, "fp16"),
        (lambda: model([helper.make_node("QLinearConv", ["x"], ["y"])]), "quantised"),
        (quantised_in_a_branch, "quantised"),
        (lambda: b"no model", "fp32"),
    ],
)
def test_the_numbers_of_a_model_are_read_from_its_graph(make: Callable[[], bytes], numbers: str) -> None:
    assert numbers_of(make()) == numbers
