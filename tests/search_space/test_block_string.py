from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space import Block, SpaceError, format_block, parse_block

COUNT = st.integers(1, 999_999)
BLOCKS = st.sampled_from(["conv", "mbconv"]).flatmap(
    lambda op: st.builds(
        Block,
        op=st.just(op),
        layers=COUNT,
        kernel=st.sampled_from([1, 3, 5, 7]),
        stride=st.integers(1, 2),
        expand=st.just(1) if op == "conv" else COUNT,
        in_filters=COUNT,
        out_filters=COUNT,
        se_ratio=st.floats(0, 1, allow_subnormal=False),
        skip=st.sampled_from(["identity", "pool", "none"]),
    )
)
OFFICIAL = [
    "r1_k3_s11_e1_i32_o16_noskip",
    "r2_k3_s22_e6_i16_o24",
    "r3_k5_s22_e3_i24_o40_se0.25",
    "r4_k3_s22_e6_i40_o80",
    "r2_k3_s11_e6_i80_o112_se0.25",
    "r1_k3_s11_e6_i192_o320_noskip",
    "r1_k3_s11_e1_i16_o8",
]


@given(BLOCKS)
def test_parsing_a_formatted_block_gives_the_block(block: Block) -> None:
    assert parse_block(format_block(block)) == block


@given(BLOCKS, st.randoms(use_true_random=False))
def test_fields_may_come_in_any_order(block: Block, random: Random) -> None:
    words = format_block(block).split("_")
    random.shuffle(words)
    assert parse_block("_".join(words)) == block


@pytest.mark.parametrize("text", OFFICIAL)
def test_official_strings_stay_as_they_are(text: str) -> None:
    assert format_block(parse_block(text)) == text


def test_the_added_words_express_what_the_official_grammar_cannot() -> None:
    block = parse_block("r2_k5_s22_e1_i16_o24_pool_conv")
    assert (block.op, block.skip) == ("conv", "pool")


def test_tiny_se_ratio_is_written_without_exponent() -> None:
    block = Block("mbconv", 1, 3, 1, 1, 8, 8, se_ratio=1.25e-7)
    assert format_block(block).endswith("_se0.000000125")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a field; the form is r<layers>_k<kernel>"),
        ("r1_k3_s11_e1_i32", "field 'o' is missing"),
        ("r1_k3_s11_e1_i32_o16_r2", "field 'r' appears twice"),
        ("r1_k3_s12_e1_i32_o16", "strides of 's12' differ"),
        ("r1_k3_s11_e1_i32_o16_noskip_pool", "noskip and pool exclude each other"),
        ("r1_k3_s11_e1_i32_o16_cs1", "'cs1' is not a field"),
        ("r0_k3_s11_e1_i32_o16", "layers is 0; it must be at least 1"),
        ("r1_k4_s11_e1_i32_o16", "kernel is 4; it must be odd"),
        ("r1_k3_s11_e0_i32_o16", "expand is 0"),
        ("r1_k3_s11_e6_i32_o16_conv", "a conv block needs expand 1"),
        ("r1_k3_s11_e1_i0_o16", "in_filters is 0"),
        ("r1_k3_s11_e1_i32_o0", "out_filters is 0"),
        ("r1_k3_s11_e1_i32_o16_se1.5", "se_ratio is 1.5; it must be from 0 to 1"),
        ("r1 _k3_s11_e1_i32_o16", "'r1 ' is not a field"),
    ],
)
def test_a_bad_string_is_refused_with_its_rule(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        parse_block(text)
    assert message in str(caught.value)
    assert repr(text) in str(caught.value)
