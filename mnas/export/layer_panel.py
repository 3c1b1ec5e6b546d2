"""The layers inside one block, drawn from top to bottom, as panels (b) to (d) of the paper's figure 7."""

from __future__ import annotations

from collections.abc import Iterator

from mnas.export import svg
from mnas.network.fusion import ConvolutionGroup, fuse
from search_space.lowering import AveragePool, FitChannels, Layer, SqueezeExcite, Unit

PANEL_WIDTH = 280
_TITLE = 26
_PADDING = 14
_BOX_WIDTH, _BOX_HEIGHT = 200, 28
_GAP = 20
_BOX_X = _PADDING + 8


def panel_height(unit: Unit) -> float:
    """Return the height of the panel of a unit, in pixels."""
    boxes = len(list(_steps(unit))) + (0 if unit.shortcut is None else 1)
    return _TITLE + 2 * _PADDING + boxes * (_BOX_HEIGHT + _GAP) + _GAP


def layer_panel(unit: Unit, title: str, x: float, y: float) -> Iterator[str]:
    """Draw the layers of a unit in a frame whose upper left corner is (x, y)."""
    yield svg.text(x, y + 14, title, anchor="start", bold=True)
    yield svg.box(x, y + _TITLE, PANEL_WIDTH, panel_height(unit) - _TITLE, dashed=True)
    middle = x + _BOX_X + _BOX_WIDTH / 2
    top = y + _TITLE + _PADDING
    at = top
    for label in _steps(unit):
        yield svg.arrow([(middle, at), (middle, at + _GAP)])
        yield svg.box(x + _BOX_X, at + _GAP, _BOX_WIDTH, _BOX_HEIGHT, fill="#ffffff")
        yield svg.text(middle, at + _GAP + _BOX_HEIGHT / 2 + 4, label, size=12)
        at += _GAP + _BOX_HEIGHT
    if unit.shortcut is not None:
        # The shortcut leaves above the first layer and goes down next to the other layers into the sum.
        side = x + PANEL_WIDTH - 24
        yield svg.arrow([(middle, at), (middle, at + _GAP)])
        sum_y = at + _GAP + _BOX_HEIGHT / 2
        yield svg.arrow([(middle, top + 6), (side, top + 6), (side, sum_y), (middle + 16, sum_y)])
        yield svg.box(middle - 16, at + _GAP, 32, _BOX_HEIGHT, fill="#ffffff")
        yield svg.text(middle, sum_y + 5, "+", size=16, bold=True)
        for number, label in enumerate(_shortcut_words(unit.shortcut)):
            yield svg.text(side - 2, sum_y + 22 + 14 * number, label, size=10, anchor="end", pale=True)
        at += _GAP + _BOX_HEIGHT
    yield svg.arrow([(middle, at), (middle, at + _GAP)])


def _steps(unit: Unit) -> Iterator[str]:
    for layer in fuse(unit.body):
        match layer:
            case ConvolutionGroup(convolution, _, activation):
                depthwise = convolution.groups == convolution.in_channels and convolution.groups > 1
                name = "DWConv" if depthwise else "Conv"
                rest = "BN" if activation is None else f"BN, {_ACTIVATIONS[activation.kind]}"
                yield f"{name} {convolution.kernel}x{convolution.kernel}, {rest}: {convolution.out_channels}"
            case SqueezeExcite(_, channels, reduced):
                yield f"SE: {channels} to {reduced} to {channels}"
            case _:
                raise AssertionError(f"no label for {layer}")


_ACTIVATIONS = {"relu": "ReLU", "relu6": "ReLU6"}


def _shortcut_words(shortcut: tuple[Layer, ...]) -> Iterator[str]:
    for layer in shortcut:
        match layer:
            case AveragePool(kernel, stride):
                yield f"mean {kernel}x{kernel}" + ("" if stride == 1 else f", stride {stride}")
            case FitChannels(in_channels, out_channels):
                yield f"{in_channels} to {out_channels} channels"
            case _:
                raise AssertionError(f"no label for {layer}")
