"""Architectures: what a search chooses, before it is lowered to layers.

A network is a fixed stem, a sequence of blocks and a fixed head (MnasNet, arXiv 1807.11626, section 4.1). A block is
`layers` identical layers; only its first layer applies the stride and changes the width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

from mnas.documents.html_table import html_table
from search_space.errors import SpaceError

Op = Literal["conv", "mbconv"]
Skip = Literal["identity", "pool", "none"]
ActivationKind = Literal["relu", "relu6"]


@dataclass(frozen=True)
class Block:
    """One block of identical layers.

    Attributes:
        op: "conv" (a regular convolution) or "mbconv" (expansion, depthwise convolution, projection). The paper's
            depthwise separable convolution is "mbconv" with `expand` 1, as in the official model code.
        layers: Number of layers, at least 1.
        kernel: Edge of the regular or depthwise convolution in pixels, odd.
        stride: Stride of the first layer, 1 or 2; the others have stride 1.
        expand: Factor by which "mbconv" expands its input, at least 1; 1 for "conv".
        in_filters: Filters of the first layer's input.
        out_filters: Filters of every layer's output.
        se_ratio: Filters of squeeze-and-excitation relative to the layer's input filters; 0 for none.
        skip: "identity" adds the layer's input if stride and width allow it, "pool" adds its average-pooled input on
            every layer, "none" adds nothing.

    Raises:
        SpaceError: A value is out of range.
    """

    op: Op
    layers: int
    kernel: int
    stride: int
    expand: int
    in_filters: int
    out_filters: int
    se_ratio: float = 0.0
    skip: Skip = "identity"

    def __post_init__(self) -> None:
        _require(self.op in ("conv", "mbconv"), f"op {self.op!r} is not conv or mbconv")
        _require(self.skip in ("identity", "pool", "none"), f"skip {self.skip!r} is not identity, pool or none")
        _require(self.layers >= 1, f"layers is {self.layers}; it must be at least 1")
        _require(self.kernel >= 1 and self.kernel % 2 == 1, f"kernel is {self.kernel}; it must be odd")
        _require(self.stride in (1, 2), f"stride is {self.stride}; it must be 1 or 2")
        _require(self.expand >= 1, f"expand is {self.expand}; it must be at least 1")
        _require(self.op == "mbconv" or self.expand == 1, f"expand is {self.expand}; a conv block needs expand 1")
        _require(self.in_filters >= 1, f"in_filters is {self.in_filters}; it must be at least 1")
        _require(self.out_filters >= 1, f"out_filters is {self.out_filters}; it must be at least 1")
        _require(0 <= self.se_ratio <= 1, f"se_ratio is {self.se_ratio}; it must be from 0 to 1")


@dataclass(frozen=True)
class Architecture:
    """A whole network without its number of classes and the size of its input.

    Each block's `in_filters` must equal the `out_filters` of the block before it. The first block's may differ from
    `stem_filters`: the official MnasNet-small has i16 after a stem of 8, which switches off that layer's residual; the
    tensors have the stem's width.

    Attributes:
        blocks: The blocks, at least one.
        stem_filters: Output filters of the stem, a 3x3 convolution.
        stem_stride: Stride of the stem, 1 or 2.
        head_filters: Output filters of the head, a 1x1 convolution.
        activation: The activation after every batch norm that has one.

    Raises:
        SpaceError: A value is out of range, or the blocks do not fit together.
    """

    blocks: tuple[Block, ...]
    stem_filters: int = 32
    stem_stride: int = 2
    head_filters: int = 1280
    activation: ActivationKind = "relu"

    def __post_init__(self) -> None:
        _require(len(self.blocks) >= 1, "an architecture needs at least one block")
        _require(self.stem_filters >= 1, f"stem_filters is {self.stem_filters}; it must be at least 1")
        _require(self.stem_stride in (1, 2), f"stem_stride is {self.stem_stride}; it must be 1 or 2")
        _require(self.head_filters >= 1, f"head_filters is {self.head_filters}; it must be at least 1")
        _require(self.activation in ("relu", "relu6"), f"activation {self.activation!r} is not relu or relu6")
        for number, (before, after) in enumerate(zip(self.blocks, self.blocks[1:], strict=False)):
            _require(
                before.out_filters == after.in_filters,
                f"blocks[{number}] has {before.out_filters} output filters but blocks[{number + 1}] has "
                f"{after.in_filters} input filters; make them equal",
            )

    def scaled(self, width: float) -> Architecture:
        """Return this network with all widths except the head's scaled (the paper's depth multiplier)."""
        return replace(
            self,
            stem_filters=scale_filters(self.stem_filters, width),
            blocks=tuple(
                replace(
                    block,
                    in_filters=scale_filters(block.in_filters, width),
                    out_filters=scale_filters(block.out_filters, width),
                )
                for block in self.blocks
            ),
        )

    def _repr_html_(self) -> str:
        """Return a table of the blocks, which notebooks show."""
        return html_table(
            ["block", "operation", "kernel", "stride", "expansion", "SE ratio", "filters", "layers", "skip"],
            [
                [number, b.op, b.kernel, b.stride, b.expand, b.se_ratio or "none", b.out_filters, b.layers, b.skip]
                for number, b in enumerate(self.blocks)
            ],
            caption=f"stem: {self.stem_filters} filters, stride {self.stem_stride}; head: {self.head_filters} filters; "
            f"activation: {self.activation}",
        )


def scale_filters(filters: int, width: float) -> int:
    """Return a number of filters scaled by `width` and rounded to a multiple of 8.

    The result is at least 8 and at least 90% of the exact product: the rule of the official MnasNet and MobileNetV2
    code. A width of 1 changes nothing.

    Raises:
        SpaceError: The width is not positive, or too large for a number.
    """
    _require(width > 0, f"width is {width}; it must be above 0")
    if width == 1:
        return filters
    exact = filters * width
    _require(
        isfinite(exact), f"width is {width}; {filters} filters times it are too many for a number; make it smaller"
    )
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise SpaceError(message)
