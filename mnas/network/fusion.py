"""Convolutions grouped with the batch norm and the activation that follow them.

The MindSpore network makes one cell of such a group (fewer cells compile faster), and the ONNX graph one node (the
batch norm is folded into the convolution). Both read units in this form.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_space.lowering import Activation, BatchNorm, Convolution, Layer


@dataclass(frozen=True)
class ConvolutionGroup:
    """A convolution, its batch norm and its activation, if it has one."""

    convolution: Convolution
    norm: BatchNorm
    activation: Activation | None


def fuse(layers: tuple[Layer, ...]) -> tuple[Layer | ConvolutionGroup, ...]:
    """Group every convolution with its batch norm and activation; other layers stay as they are.

    Raises:
        ValueError: A convolution is not followed by a batch norm, or a batch norm does not follow a convolution.
    """
    fused: list[Layer | ConvolutionGroup] = []
    position = 0
    while position < len(layers):
        layer = layers[position]
        match layers[position : position + 3]:
            case (Convolution() as convolution, BatchNorm() as norm, Activation() as activation):
                fused.append(ConvolutionGroup(convolution, norm, activation))
                position += 3
            case (Convolution() as convolution, BatchNorm() as norm, *_):
                fused.append(ConvolutionGroup(convolution, norm, None))
                position += 2
            case (Convolution() | BatchNorm(), *_):
                raise ValueError(f"{layer} stands alone; a convolution and its batch norm must follow each other")
            case _:
                fused.append(layer)
                position += 1
    return tuple(fused)
