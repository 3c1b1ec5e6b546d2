"""The page of a report: one HTML file that needs no network.

All data goes in as JSON in a script element that is not executed, and from there into the page as text nodes. The
page's policy (Content-Security-Policy) allows the scripts of this package by their hashes, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import msgspec

from mnas.documents.foreign_text import html_text, is_printable, printable

LIBRARY = "echarts.common.min.js"
SCRIPTS = (LIBRARY, "dom.js", "charts.js", "page.js")
_NUMBERS = frozenset((int, float, bool, type(None)))


def report_page(data: Mapping[str, Any], *, extra_scripts: tuple[str, ...] = (), connect: str = "'none'") -> str:
    """Return the page that shows the data of a report.

    Args:
        data: What `mnas.report.data.report_data` returns.
        extra_scripts: Further scripts of this package, run last.
        connect: Where the page may send requests to, as its policy says it.
    """
    title = ", ".join(str(run["name"]) for run in data["runs"])
    parts = {"title": html_text(f"{title}: search report"), "data": embedded_json(data)}
    return _filled("page.html", parts, (*SCRIPTS, *extra_scripts), connect)


def runs_page(folder: object, titles: Sequence[str], runs: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return the page that lists the runs of a folder, and asks the server for news.

    Args:
        folder: Its name.
        titles: Titles of the columns of each run; all but the first hold numbers.
        runs: The name of each run, by which the server knows it, and its columns. The first takes the place of those
            that are missing.
    """
    rows = []
    for name, cells in runs:
        address, text = quote(name, errors="replace"), html_text(name)
        first, *numbers = cells
        told = f'<td class="text" colspan="{1 + len(titles) - len(cells)}">{html_text(first)}</td>'
        told += "".join(f'<td class="number">{html_text(cell)}</td>' for cell in numbers)
        tick = f'<input type="checkbox" name="{address}" aria-label="{text}">'
        rows.append(f'<tr><td>{tick}</td><td><a href="run/{address}">{text}</a></td>{told}</tr>')
    first, *numbers = titles
    head = f"<th>run</th><th>{first}</th>" + "".join(f'<th class="number">{title}</th>' for title in numbers)
    tick = '<input type="checkbox" id="all" aria-label="all">'
    body = f"<tbody>{''.join(rows)}</tbody>"
    table = f'<table id="list"><thead><tr><th>{tick}</th>{head}</tr></thead>{body}</table>'
    shown = table if rows else '<p id="list">no run yet</p>'
    return _filled("runs.html", {"title": html_text(f"Runs in {folder}"), "list": shown}, ("runs.js",), "'self'")


def _filled(template: str, parts: Mapping[str, str], scripts: Sequence[str], connect: str) -> str:
    """Return a page of this package with its parts; its policy allows these scripts only."""
    hashes = " ".join(f"'sha256-{_sha256(name)}'" for name in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
    given = {
        **parts,
        "policy": policy,
        "style": asset("page.css"),
        "scripts": "\n".join(f"<script>{asset(name)}</script>" for name in scripts),
    }
    head, *rest = asset(template).split("{{")
    return head + "".join(given[name] + text for name, _, text in (piece.partition("}}") for piece in rest))


def embedded_json(data: object) -> str:
    r"""Return data as JSON that a script element can hold; characters that turn or hide text are escaped visibly.

    >>> embedded_json({"a": "</script>\x1b"})
    '{"a":"\\u003c/script\\u003e\\\\x1b"}'
    """
    text = msgspec.json.encode(_harmless(data)).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def asset(name: str) -> str:
    """Return a file of `mnas/report/assets`."""
    return (files("mnas.report") / "assets" / name).read_text(encoding="utf-8")


def _sha256(name: str) -> str:
    return base64.b64encode(hashlib.sha256(asset(name).encode()).digest()).decode()


def _harmless(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(key): _harmless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        # Most of a report is long columns, which are as they should be.
        kinds = set(map(type, value))
        if kinds <= _NUMBERS or (kinds == {str} and is_printable("".join(value))):
            return value
        return [_harmless(item) for item in value]
    return value
