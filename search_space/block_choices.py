"""The choices of one block, and the block that chosen indices stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from search_space.architecture import Block, Op, Skip

OpChoice = Literal["conv", "dconv", "mbconv3", "mbconv6", "mbconv"]
Choice = str | int | float
PositiveInt = Annotated[int, Meta(ge=1, le=1_000_000)]
DecisionName = Literal["op", "expand", "kernel", "se_ratio", "skip", "filters", "layers"]
DECISION_NAMES: tuple[DecisionName, ...] = get_args(DecisionName)
_OPS: Mapping[str, tuple[Op, int]] = {
    "conv": ("conv", 1),
    "dconv": ("mbconv", 1),
    "mbconv3": ("mbconv", 3),
    "mbconv6": ("mbconv", 6),
}


class BlockChoices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The choices of one block, as in a space's YAML file; all layers of the block share them.

    A list of one choice is fixed: it is not a decision of the search.

    Attributes:
        stride: Stride of the first layer, 1 or 2; the others have stride 1.
        op: The convolution. "dconv" is the paper's depthwise separable convolution, "mbconv3" and "mbconv6" are MBConv
            with that expansion. "mbconv" takes its expansion from the decision `expand`; the others ignore it.
        filters: Output filters.
        layers: Number of layers.
        expand: Expansions of "mbconv".
        kernel: Edge of the regular or depthwise convolution in pixels, odd.
        se_ratio: Squeeze-and-excitation filters relative to the layer's input filters; 0 for none.
        skip: "identity" (if shapes allow it), "pool" (the average-pooled input, on every layer) or "none".

    Raises:
        ValueError: A choice is listed twice, a kernel is even, or `op` and `expand` do not fit together.
    """

    stride: Literal[1, 2]
    op: Annotated[tuple[OpChoice, ...], Meta(min_length=1)]
    filters: Annotated[tuple[PositiveInt, ...], Meta(min_length=1)]
    layers: Annotated[tuple[PositiveInt, ...], Meta(min_length=1)]
    expand: Annotated[tuple[PositiveInt, ...], Meta(min_length=1)] | None = None
    kernel: Annotated[tuple[PositiveInt, ...], Meta(min_length=1)] = (3,)
    se_ratio: Annotated[tuple[Annotated[float, Meta(ge=0, le=1)], ...], Meta(min_length=1)] = (0.0,)
    skip: Annotated[tuple[Skip, ...], Meta(min_length=1)] = ("identity",)

    def __post_init__(self) -> None:
        for name in DECISION_NAMES:
            choices = self.choices(name)
            repeated = [choice for index, choice in enumerate(choices) if choice in choices[:index]]
            if repeated:
                raise ValueError(f"{name} lists {repeated[0]} twice; give every choice once")
        even = [kernel for kernel in self.kernel if kernel % 2 == 0]
        if even:
            raise ValueError(f"kernel {even[0]} is even; kernels must be odd, so that the padding is symmetric")
        if "mbconv" in self.op and self.expand is None:
            raise ValueError("op mbconv needs the decision expand, such as [1, 3, 6] (or choose mbconv3, mbconv6)")
        if "mbconv" not in self.op and self.expand is not None:
            raise ValueError("expand acts on op mbconv, which is not among the choices; add it or leave expand out")

    def choices(self, decision: str) -> tuple[Choice, ...]:
        """Return the choices of a decision in `DECISION_NAMES`; one choice if it is fixed."""
        if decision == "expand":
            return self.expand or (1,)
        chosen: tuple[Choice, ...] = getattr(self, decision)
        return chosen

    def decisions(self) -> tuple[DecisionName, ...]:
        """Return the names of the decisions with more than one choice, as ordered in `DECISION_NAMES`."""
        return tuple(name for name in DECISION_NAMES if len(self.choices(name)) > 1)

    def block(self, index: Mapping[DecisionName, int], in_filters: int) -> Block:
        """Return the block for an index of each decision of `decisions()`."""
        position = {name: index[name] if len(self.choices(name)) > 1 else 0 for name in DECISION_NAMES}
        op, expand = op_and_expand(self.op[position["op"]], (self.expand or (1,))[position["expand"]])
        return Block(
            op=op,
            layers=self.layers[position["layers"]],
            kernel=self.kernel[position["kernel"]],
            stride=self.stride,
            expand=expand,
            in_filters=in_filters,
            out_filters=self.filters[position["filters"]],
            se_ratio=self.se_ratio[position["se_ratio"]],
            skip=self.skip[position["skip"]],
        )


def op_and_expand(choice: OpChoice, expand: int) -> tuple[Op, int]:
    """Return a block's op and expansion for a choice of `op` and, for "mbconv", of `expand`."""
    return ("mbconv", expand) if choice == "mbconv" else _OPS[choice]
