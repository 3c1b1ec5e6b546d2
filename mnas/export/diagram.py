"""The diagram of a network in the style of the paper's figure 7: a column of its blocks, and next to it their layers.

Everything is read off the lowered network, so the diagram cannot differ from what is exported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mnas.export import svg
from mnas.export.layer_panel import PANEL_WIDTH, layer_panel, panel_height
from search_space import Architecture, Block, LoweredNetwork, cost, format_block
from search_space.counting import layer_parameters, multiply_adds
from search_space.lowering import Convolution, Unit

_MARGIN = 30
_BOX_WIDTH, _BOX_HEIGHT = 250, 38
_GAP = 42  # between two boxes, room for an arrow and the shape next to it
_COLUMN_X = _MARGIN + 70
_NOTES_X = _COLUMN_X + _BOX_WIDTH + 36
_PANELS_X = _NOTES_X + 320
_PANEL_GAP = 40
_TOP = 92

_FILLS = {"plain": "#e4e7eb", "conv": "#dfd3f3", "separable": "#d3ecd9", "mbconv": "#d3e4f7", "mbconv wide": "#fbdcd3"}


@dataclass(frozen=True)
class _Row:
    """One box of the column: what it says, how often it is repeated, and the shape that leaves it."""

    label: str
    fill: str
    shape: str
    note: str
    params: int
    multiply_adds: int
    repeats: int = 1


def network_svg(architecture: Architecture, network: LoweredNetwork, title: str) -> str:
    """Draw a network as an SVG file; `network` is what `architecture` was lowered to."""
    rows = list(_rows(architecture, network))
    column_height = _TOP + (len(rows) + 1) * (_BOX_HEIGHT + _GAP)
    panels = _panels(architecture, network)
    panels_per_row = max(1, min(3, len(panels)))
    panel_rows = [panels[start : start + panels_per_row] for start in range(0, len(panels), panels_per_row)]
    panels_height = _TOP + sum(max(panel_height(unit) for _, unit in row) + _PANEL_GAP for row in panel_rows)
    width = _PANELS_X + panels_per_row * (PANEL_WIDTH + _PANEL_GAP) - _PANEL_GAP + _MARGIN
    counted = cost(network)
    shapes = [
        svg.text(_MARGIN, 40, title, size=20, anchor="start", bold=True),
        svg.text(
            _MARGIN,
            62,
            f"{counted.trainable_params:,} parameters, {counted.multiply_adds:,} multiply-adds; "
            "shapes are height x width x channels; on the right, a layer of each kind with its output channels",
            anchor="start",
            pale=True,
        ),
        *_column(rows, network),
    ]
    y: float = _TOP
    for row in panel_rows:
        for place, (label, unit) in enumerate(row):
            x = _PANELS_X + place * (PANEL_WIDTH + _PANEL_GAP)
            shapes += layer_panel(unit, label, x, y)
        y += max(panel_height(unit) for _, unit in row) + _PANEL_GAP
    return svg.document(width, max(column_height, panels_height) + _MARGIN, title, shapes)


def block_label(block: Block) -> str:
    """Return the paper's name for the layers of a block.

    >>> from search_space import parse_block
    >>> block_label(parse_block("r3_k5_s22_e3_i24_o40_se0.25"))
    'MBConv3 5x5, SE'
    """
    kind = "Conv" if block.op == "conv" else "SepConv" if block.expand == 1 else f"MBConv{block.expand}"
    parts = [f"{kind} {block.kernel}x{block.kernel}"]
    if block.se_ratio > 0:
        parts.append("SE")
    if block.skip == "pool":
        parts.append("pool")
    return ", ".join(parts)


def _rows(architecture: Architecture, network: LoweredNetwork) -> Iterator[_Row]:
    stem, *blocks, head, classifier = network.units
    yield _row([stem], f"Conv 3x3{_stride(architecture.stem_stride)}", "plain", "stem")
    units = iter(blocks)
    for block in architecture.blocks:
        members = [next(units) for _ in range(block.layers)]
        yield _row(members, block_label(block) + _stride(block.stride), _fill(block), format_block(block))
    yield _row([head], "Conv 1x1, mean", "plain", "head", shape=f"{architecture.head_filters}")
    yield _row([classifier], "Fully connected", "plain", "classifier", shape=f"{network.num_classes} logits")


def _row(units: list[Unit], label: str, fill: str, note: str, shape: str | None = None) -> _Row:
    layers = [layer for unit in units for layer in (*unit.body, *(unit.shortcut or ()))]
    if shape is None:
        last = [layer for layer in layers if isinstance(layer, Convolution)][-1]
        shape = f"{last.out_size}x{last.out_size}x{last.out_channels}"
    params = sum(parameter.size for layer in layers for parameter in layer_parameters(layer) if parameter.trainable)
    alone = LoweredNetwork(1, 1, 1, tuple(units))
    return _Row(label, _FILLS[fill], shape, note, params, multiply_adds(alone), repeats=len(units))


def _stride(stride: int) -> str:
    return "" if stride == 1 else f", stride {stride}"


def _fill(block: Block) -> str:
    if block.op == "conv":
        return "conv"
    if block.expand == 1:
        return "separable"
    return "mbconv" if block.expand < 6 else "mbconv wide"


def _column(rows: list[_Row], network: LoweredNetwork) -> Iterator[str]:
    middle = _COLUMN_X + _BOX_WIDTH / 2
    y: float = _TOP
    shape = f"{network.image_size}x{network.image_size}x{network.channels}"
    yield svg.text(middle, y, "image", bold=True)
    y += 6
    for row in rows:
        yield svg.arrow([(middle, y), (middle, y + _GAP)])
        yield svg.text(middle + 8, y + _GAP / 2 + 3, shape, size=12, anchor="start", pale=True)
        y += _GAP
        if row.repeats > 1:
            yield svg.box(_COLUMN_X - 7, y - 7, _BOX_WIDTH + 14, _BOX_HEIGHT + 14, dashed=True)
            yield svg.text(_COLUMN_X - 16, y + _BOX_HEIGHT / 2 + 6, f"{row.repeats}x", size=16, anchor="end", bold=True)
        yield svg.box(_COLUMN_X, y, _BOX_WIDTH, _BOX_HEIGHT, fill=row.fill)
        yield svg.text(middle, y + _BOX_HEIGHT / 2 + 5, row.label, bold=True)
        yield svg.text(_NOTES_X, y + 16, row.note, size=12, anchor="start")
        amounts = f"{row.params:,} parameters, {_short(row.multiply_adds)} multiply-adds"
        yield svg.text(_NOTES_X, y + 32, amounts, size=12, anchor="start", pale=True)
        y += _BOX_HEIGHT
        shape = row.shape
    yield svg.arrow([(middle, y), (middle, y + _GAP)])
    yield svg.text(middle, y + _GAP + 16, shape, bold=True)


def _short(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count:,}"


def _panels(architecture: Architecture, network: LoweredNetwork) -> list[tuple[str, Unit]]:
    """Return one layer of every kind: the last of its block, which has the residual if the block has one."""
    units = iter(network.units[1:-2])
    last_layers = [[next(units) for _ in range(block.layers)][-1] for block in architecture.blocks]
    kinds = ((_kind(block, unit), unit) for block, unit in zip(architecture.blocks, last_layers, strict=True))
    return list(dict(kinds).items())


def _kind(block: Block, unit: Unit) -> str:
    return block_label(block) + (", residual" if unit.shortcut == () else "")
