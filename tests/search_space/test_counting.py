import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_space import Architecture, SearchSpace, cost, format_block, lower, parse_block, reference


@pytest.mark.parametrize(
    ("name", "width", "trainable_params", "params", "multiply_adds"),
    [
        ("mnasnet-b1", 0.75, 3_170_208, 3_200_016, 215_493_104),
        ("mobilenet-v2", 1.0, 3_504_872, 3_538_984, 300_774_272),
    ],
)
def test_costs_known_to_the_digit(
    name: str, width: float, trainable_params: int, params: int, multiply_adds: int
) -> None:
    found = cost(lower(reference(name).architecture.scaled(width)))
    assert (found.trainable_params, found.params, found.multiply_adds) == (trainable_params, params, multiply_adds)


@pytest.mark.parametrize(
    ("width", "trainable_params", "params", "multiply_adds", "digits"),
    [
        (0.5, 2_218_512, 2_239_136, "104.46", 2),
        (1.0, 4_383_312, 4_421_232, "314.4", 1),
        (1.3, 6_282_256, 6_331_072, "526.4", 1),
        (1.4, 7_115_728, 7_168_176, "588.8", 1),
    ],
)
def test_costs_of_mnasnet_b1_as_published(
    width: float, trainable_params: int, params: int, multiply_adds: str, digits: int
) -> None:
    found = cost(lower(reference("mnasnet-b1").architecture.scaled(width)))
    assert (found.trainable_params, found.params) == (trainable_params, params)
    assert f"{found.multiply_adds / 1e6:.{digits}f}" == multiply_adds


def test_cost_of_mnasnet_a1() -> None:
    found = cost(lower(reference("mnasnet-a1").architecture))
    assert found.trainable_params == 3_887_038
    # The paper says 312M, the official code 315.2M; it counts more than convolutions and dense layers.
    assert round(found.multiply_adds / 1e6) == 312


def test_cost_of_mnasnet_small_as_published() -> None:
    found = cost(lower(reference("mnasnet-small").architecture))
    assert (round(found.trainable_params / 1e6, 1), round(found.multiply_adds / 1e6)) == (2.0, 68)


def counts_from_strings(
    blocks: list[str], stem: int, stem_stride: int, head: int, image_size: int, channels: int, classes: int
) -> tuple[int, int, int]:
    """Count (trainable parameters, batch-norm statistics, multiply-adds) from the strings, without the lowering."""
    size = -(-image_size // stem_stride)
    weights, norms, products = 9 * channels * stem, stem, size**2 * 9 * channels * stem
    others, width = 0, stem
    for text in blocks:
        value = {key: float(number) for key, number in re.findall(r"(?:^|_)(r|k|e|i|o|se)([0-9.]+)", text)}
        stride = int(text.split("_s")[1][0])
        out, kernel = int(value["o"]), int(value["k"])
        for layer in range(int(value["r"])):
            out_size = -(-size // (stride if layer == 0 else 1))
            reduced = max(1, int((value["i"] if layer == 0 else out) * value["se"])) if "se" in value else 0
            if text.endswith("_conv"):
                inner = out
                weights += kernel**2 * width * out
                products += kernel**2 * width * out * out_size**2
                norms += out
            else:
                inner = int(value["e"]) * width
                expansion = width * inner if value["e"] > 1 else 0
                weights += expansion + kernel**2 * inner + inner * out
                products += expansion * size**2 + (kernel**2 * inner + inner * out) * out_size**2
                norms += (inner if expansion else 0) + inner + out
            if reduced:
                others += 2 * inner * reduced + inner + reduced
                products += 2 * inner * reduced
            size, width = out_size, out
    weights += width * head
    products += width * head * size**2 + head * classes
    norms += head
    others += head * classes + classes
    return weights + 2 * norms + others, 2 * norms, products


@pytest.mark.parametrize("name", SearchSpace.names())
def test_counts_equal_those_from_the_block_strings(name: str) -> None:
    space, rng = SearchSpace.load(name), np.random.default_rng(1)
    for _ in range(50):
        architecture = space.decode(space.sample(rng))
        image_size, channels, classes = (int(number) for number in rng.integers(1, 70, 3))
        found = cost(lower(architecture, image_size=image_size, channels=channels, num_classes=classes))
        expected = counts_from_strings(
            [format_block(block) for block in architecture.blocks],
            architecture.stem_filters,
            architecture.stem_stride,
            architecture.head_filters,
            image_size,
            channels,
            classes,
        )
        assert (found.trainable_params, found.params - found.trainable_params, found.multiply_adds) == expected


@settings(max_examples=60)
@given(
    change=st.sampled_from(["layers", "kernel", "filters", "expand", "se_ratio"]),
    block=st.sampled_from(["r1_k3_s22_e3_i16_o24", "r2_k5_s11_e6_i16_o40_pool", "r3_k3_s11_e2_i16_o16_noskip"]),
    amount=st.integers(1, 4),
)
def test_more_of_anything_costs_more(change: str, block: str, amount: int) -> None:
    before = parse_block(block)
    after = {
        "layers": replace(before, layers=before.layers + amount),
        "kernel": replace(before, kernel=before.kernel + 2 * amount),
        "filters": replace(before, out_filters=before.out_filters + amount),
        "expand": replace(before, expand=before.expand + amount),
        "se_ratio": replace(before, se_ratio=amount / 4),
    }[change]
    small, large = (cost(lower(Architecture((b,), stem_filters=16, head_filters=64))) for b in (before, after))
    assert large.trainable_params > small.trainable_params
    assert large.params > small.params
    assert large.multiply_adds > small.multiply_adds


def test_larger_images_cost_multiply_adds_but_no_parameters() -> None:
    architecture = reference("mnasnet-a1").architecture
    small, large = (cost(lower(architecture, image_size=size)) for size in (160, 224))
    assert large.multiply_adds > small.multiply_adds
    assert large.params == small.params
