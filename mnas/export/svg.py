"""The few shapes that a diagram needs, written as SVG text; lengths are in pixels, `y` grows downwards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal
from xml.sax.saxutils import quoteattr

from mnas.documents.foreign_text import html_text

INK = "#1f2933"
PALE_INK = "#61707f"
_FONT = "Helvetica, Arial, sans-serif"


def document(width: float, height: float, title: str, shapes: Iterable[str]) -> str:
    """Return a whole SVG file on a white ground; `title` is what screen readers say."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{_FONT}" role="img">',
        f"<title>{html_text(title)}</title>",
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        *shapes,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def box(x: float, y: float, width: float, height: float, *, fill: str = "none", dashed: bool = False) -> str:
    """Return a rectangle with round corners, (x, y) its upper left one."""
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    stroke = PALE_INK if dashed else INK
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
        f"fill={quoteattr(fill)} stroke={quoteattr(stroke)}{dashes}/>"
    )


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 13,
    anchor: Literal["start", "middle", "end"] = "middle",
    bold: bool = False,
    pale: bool = False,
) -> str:
    """Return one line of text; (x, y) is the start, middle or end of its base line."""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
        f'fill="{PALE_INK if pale else INK}"{weight}>{html_text(words)}</text>'
    )


def line(points: Iterable[tuple[float, float]]) -> str:
    """Return a line through points."""
    joined = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{INK}"/>'


def arrow(points: Iterable[tuple[float, float]]) -> str:
    """Return a line through points with a head at the last; its last part must be vertical or horizontal."""
    points = list(points)
    (from_x, from_y), (x, y) = points[-2], points[-1]
    along_x, along_y = _sign(x - from_x), _sign(y - from_y)
    back_x, back_y = x - 7 * along_x, y - 7 * along_y
    corners = ((x, y), (back_x + 4 * along_y, back_y + 4 * along_x), (back_x - 4 * along_y, back_y - 4 * along_x))
    head = " ".join(f"{corner_x:g},{corner_y:g}" for corner_x, corner_y in corners)
    return line([*points[:-1], (back_x, back_y)]) + f'<polygon points="{head}" fill="{INK}"/>'


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
