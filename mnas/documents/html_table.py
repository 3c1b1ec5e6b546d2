"""Tables in HTML, as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mnas.documents.foreign_text import html_text


def html_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """Return a table in HTML; all text is escaped.

    >>> html_table(["kernel"], [[3], ["<5>"]], caption="a & b")
    '<table><caption>a &amp; b</caption><tr><th>kernel</th></tr><tr><td>3</td></tr><tr><td>&lt;5&gt;</td></tr></table>'
    """
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return f"<table>{f'<caption>{html_text(caption)}</caption>' if caption else ''}{''.join(lines)}</table>"


def _row(tag: str, cells: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html_text(cell)}</{tag}>" for cell in cells) + "</tr>"
