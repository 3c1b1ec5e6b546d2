from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space import Architecture, Block, SpaceError, parse_block, reference, scale_filters

BLOCK = parse_block("r1_k3_s11_e1_i32_o16")


@given(st.integers(1, 4096), st.floats(0.1, 4))
def test_scaled_filters_are_a_multiple_of_8_near_the_product(filters: int, width: float) -> None:
    scaled = scale_filters(filters, width)
    if width != 1:
        assert scaled % 8 == 0
        assert scaled >= 8
        assert scaled >= 0.9 * filters * width
        assert scaled <= max(8, filters * width + 8)


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(32, 0.5, 16), (24, 0.75, 24), (40, 0.35, 16), (16, 0.35, 8), (17, 1.0, 17)]
)
def test_filters_scale_as_in_the_official_code(filters: int, width: float, expected: int) -> None:
    assert scale_filters(filters, width) == expected


def test_scaling_keeps_the_head_and_scales_the_stem() -> None:
    scaled = reference("mnasnet-b1").architecture.scaled(0.75)
    assert (scaled.stem_filters, scaled.head_filters) == (24, 1280)
    assert [block.out_filters for block in scaled.blocks] == [16, 24, 32, 64, 72, 144, 240]


def test_width_1_changes_nothing() -> None:
    architecture = reference("mnasnet-small").architecture
    assert architecture.scaled(1.0) == architecture


def test_first_block_may_differ_from_the_stem() -> None:
    assert Architecture((BLOCK,), stem_filters=8).blocks[0].in_filters == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ()}, "needs at least one block"),
        ({"stem_filters": 0}, "stem_filters is 0"),
        ({"stem_stride": 3}, "stem_stride is 3; it must be 1 or 2"),
        ({"head_filters": 0}, "head_filters is 0"),
        ({"activation": "swish"}, "activation 'swish' is not relu or relu6"),
        ({"blocks": (BLOCK, BLOCK)}, "blocks[0] has 16 output filters but blocks[1] has 32"),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        Architecture(**{"blocks": (BLOCK,), **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"op": "dconv"}, "op 'dconv' is not conv or mbconv"),
        ({"skip": "residual"}, "skip 'residual' is not identity, pool or none"),
        ({"stride": 3}, "stride is 3; it must be 1 or 2"),
        ({"se_ratio": float("nan")}, "se_ratio is nan"),
    ],
)
def test_a_block_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        replace(BLOCK, **changes)
    assert message in str(caught.value)


def test_width_must_be_positive() -> None:
    with pytest.raises(SpaceError, match="width is 0; it must be above 0"):
        Architecture((BLOCK,)).scaled(0)


def test_architectures_are_hashable() -> None:
    assert len({Architecture((BLOCK,)), Architecture((Block(**vars(BLOCK)),))}) == 1
