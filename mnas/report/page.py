"""The page of a report: one HTML file that needs no network.

All data goes in as JSON in a script element that is not executed, and from there into the page as text nodes. The
page's policy (Content-Security-Policy) allows the scripts of this package by their hashes, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from mnas.documents.foreign_text import html_text, printable
from mnas.documents.json_text import dump_json

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
    names = (*SCRIPTS, *extra_scripts)
    hashes = " ".join(f"'sha256-{_sha256(name)}'" for name in names)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
    title = ", ".join(str(run["name"]) for run in data["runs"])
    parts = {
        "policy": policy,
        "title": html_text(f"{title}: search report"),
        "style": asset("page.css"),
        "data": embedded_json(data),
        "scripts": "\n".join(f"<script>{asset(name)}</script>" for name in names),
    }
    head, *rest = asset("page.html").split("{{")
    return head + "".join(parts[name] + text for name, _, text in (piece.partition("}}") for piece in rest))


def embedded_json(data: object) -> str:
    r"""Return data as JSON that a script element can hold; characters that turn or hide text are escaped visibly.

    >>> embedded_json({"a": "</script>\x1b"})
    '{"a":"\\u003c/script\\u003e\\\\x1b"}'
    """
    text = dump_json(_harmless(data), compact=True)
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
    # Most of a report is long lists of numbers, which are as they should be.
    if isinstance(value, list | tuple) and not _NUMBERS.issuperset(map(type, value)):
        return [_harmless(item) for item in value]
    return value
