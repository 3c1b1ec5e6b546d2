"""Block strings: one block of a network as a short text, such as `r3_k5_s22_e3_i24_o40_se0.25`.

The fields are joined by `_`, in any order:
- `r3`: three identical layers, of which only the first has the stride and changes the number of filters.
- `k5`, `s22`: 5x5 kernels; stride 2 in both directions.
- `e3`: each layer first expands its input to 3 times as many filters. `e1` expands nothing: the paper's depthwise
  separable convolution.
- `i24`, `o40`: 24 filters in, 40 filters out.
- `se0.25`: squeeze-and-excitation with 0.25 times the input's filters; leave it out for none.

A layer's input is added to its output if their shapes agree. `noskip` at the end turns that off.

The form is the official one (tensorflow/tpu, models/official/mnasnet):
`r<layers>_k<kernel>_s<stride><stride>_e<expand>_i<in>_o<out>[_se<ratio>][_noskip]`. Two words are added to it; official
strings keep their meaning:
- `pool`: the average-pooled input is added instead, on every layer.
- `conv`: regular convolutions (needs `e1`).
"""

from __future__ import annotations

import re
from decimal import Decimal

from search_space.architecture import Block, Skip
from search_space.errors import SpaceError

GRAMMAR = "r<layers>_k<kernel>_s<stride><stride>_e<expand>_i<in>_o<out>[_se<ratio>][_noskip|_pool][_conv]"
_FLAGS = ("noskip", "pool", "conv")
_REQUIRED = ("r", "k", "s", "e", "i", "o")
_INTEGER_FIELD = re.compile(r"([rkeio])([0-9]{1,6})")
_STRIDE_FIELD = re.compile(r"(s)([1-9])([1-9])")
_SE_FIELD = re.compile(r"(se)([0-9]*\.?[0-9]+)")


def parse_block(text: str) -> Block:
    """Return the block that a block string stands for.

    Raises:
        SpaceError: The string has another form; the message names the string, the field and the grammar.

    >>> block = parse_block("r3_k5_s22_e3_i24_o40_se0.25")
    >>> block.layers, block.kernel, block.stride, block.expand, block.se_ratio, block.skip
    (3, 5, 2, 3, 0.25, 'identity')
    """
    fields: dict[str, str] = {}
    for word in text.split("_"):
        key, value = _parse_word(word, text)
        if key in fields:
            raise SpaceError(f"block string {text!r}: field {key!r} appears twice; give it once")
        fields[key] = value
    missing = [key for key in _REQUIRED if key not in fields]
    if missing:
        raise SpaceError(f"block string {text!r}: field {missing[0]!r} is missing; the form is {GRAMMAR}")
    if "noskip" in fields and "pool" in fields:
        raise SpaceError(f"block string {text!r}: noskip and pool exclude each other; keep one")
    skip: Skip = "none" if "noskip" in fields else "pool" if "pool" in fields else "identity"
    try:
        return Block(
            op="conv" if "conv" in fields else "mbconv",
            layers=int(fields["r"]),
            kernel=int(fields["k"]),
            stride=int(fields["s"]),
            expand=int(fields["e"]),
            in_filters=int(fields["i"]),
            out_filters=int(fields["o"]),
            se_ratio=float(fields.get("se", 0)),
            skip=skip,
        )
    except SpaceError as error:
        raise SpaceError(f"block string {text!r}: {error}") from error


def format_block(block: Block) -> str:
    """Return a block's string, fields in the official order; `parse_block` reads back an equal block.

    >>> format_block(parse_block("k3_r1_e1_s11_o16_i32_conv_noskip"))
    'r1_k3_s11_e1_i32_o16_noskip_conv'
    """
    text = (
        f"r{block.layers}_k{block.kernel}_s{block.stride}{block.stride}_e{block.expand}"
        f"_i{block.in_filters}_o{block.out_filters}"
    )
    if block.se_ratio:
        text += f"_se{_plain(block.se_ratio)}"
    text += {"identity": "", "none": "_noskip", "pool": "_pool"}[block.skip]
    return text + ("_conv" if block.op == "conv" else "")


def _parse_word(word: str, text: str) -> tuple[str, str]:
    if word in _FLAGS:
        return word, ""
    if match := _INTEGER_FIELD.fullmatch(word) or _SE_FIELD.fullmatch(word):
        return match[1], match[2]
    if match := _STRIDE_FIELD.fullmatch(word):
        if match[2] != match[3]:
            raise SpaceError(f"block string {text!r}: the strides of {word!r} differ; give equal ones, such as s22")
        return match[1], match[2]
    raise SpaceError(f"block string {text!r}: {word!r} is not a field; the form is {GRAMMAR}")


def _plain(ratio: float) -> str:
    # repr keeps the round trip exact but may use an exponent, which the grammar does not have.
    return format(Decimal(repr(float(ratio))), "f")
