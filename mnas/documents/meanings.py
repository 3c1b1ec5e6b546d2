"""The meanings of a document's keys, read from the docstrings of the classes that check it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Sequence

_UNITS = {
    "_ms": "ms",
    "_s": "seconds",
    "_gb": "10^9 bytes",
    "_mb": "10^6 bytes",
    "_c": "°C",
    "_epochs": "epochs",
    "_steps": "steps",
    "_runs": "runs",
    "_images": "images",
    "_size": "pixels",
    "_padding": "pixels",
    "_filters": "filters",
    "_per_s": "per second",
}
_UNITS_OF_KEYS = {
    "batch_size": "images",
    "child_batch_size": "children",
    "epochs": "epochs",
    "micro_batch_size": "images",
    "population_size": "members",
    "runs": "runs",
    "filters": "filters",
    "trials": "trials",
}
_SECTION = re.compile(r"^(?:Attributes|Raises|Returns|Args|Yields):$", re.MULTILINE)
_ITEM = re.compile(r"(?P<names>\w+(?:, \w+)*): (?P<text>\S.*)")


def summary(cls: type) -> str:
    """Return the docstring of a class up to its sections, without doctests."""
    text = _SECTION.split(inspect.getdoc(cls) or "", maxsplit=1)[0].strip()
    return "\n\n".join(paragraph for paragraph in text.split("\n\n") if ">>>" not in paragraph)


def meanings_of(cls: type) -> dict[str, str]:
    """Return what the docstrings of a struct or dataclass and of its bases say about each field."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] in ("builtins", "msgspec"):
            continue
        meanings.update(_items(_attributes_part(inspect.getdoc(base) if "__doc__" in vars(base) else None)))
        meanings.update(_strings_below_fields(base))
    return meanings


def with_unit(key: str, meaning: str) -> str:
    """Return the meaning of a key with its unit, which the end of the key's name tells.

    >>> with_unit("child_timeout_s", "Longest time of a child.")
    'Longest time of a child. Unit: seconds.'
    """
    endings = sorted((end for end in _UNITS if key.endswith(end)), key=len)
    unit = _UNITS_OF_KEYS.get(key) or (_UNITS[endings[-1]] if endings else None)
    return f"{meaning} Unit: {unit}." if unit and meaning and unit not in meaning else meaning


def sentence(text: str) -> str:
    """Return text as a sentence.

    >>> sentence("share of the classifier's inputs")
    "Share of the classifier's inputs."
    """
    text = text.strip()
    text = text[:1].upper() + text[1:] if text[:2].islower() else text
    return text if not text or text[-1] in ".:;" else f"{text}."


def _attributes_part(doc: str | None) -> str:
    """Return the items of a docstring's `Attributes:` section."""
    found = re.search(r"^Attributes:\n((?:[ ]+.*\n?|\n)+)", doc or "", re.MULTILINE)
    return textwrap.dedent(found.group(1)) if found else ""


def _items(text: str) -> dict[str, str]:
    """Return the texts of `name: text` items; lines that are indented further continue the item above."""
    found: dict[str, str] = {}
    names: Sequence[str] = ()
    for line in text.splitlines():
        match = _ITEM.fullmatch(line)
        if match:
            names = match["names"].split(", ")
            found.update(dict.fromkeys(names, match["text"]))
        elif line.startswith(" ") and names:
            for name in names:
                found[name] += " " + line.strip()
        else:
            names = ()
    return {name: sentence(text) for name, text in found.items()}


def _strings_below_fields(cls: type) -> dict[str, str]:
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):  # of a class that was typed in
        return {}
    body = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = sentence(" ".join(text.split()))
    return found
