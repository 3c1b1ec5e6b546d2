"""Names that a user types: whether one is a path, and what a wrong one was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return " (did you mean 'epochs'?)" if one of the choices is similar to `word`, else an empty string.

    >>> did_you_mean("epoch", ["epochs", "batch_size"])
    " (did you mean 'epochs'?)"
    >>> did_you_mean("zebra", ["epochs", "batch_size"])
    ''
    """
    folded = {choice.casefold(): choice for choice in choices}
    near = get_close_matches(word.casefold(), folded, n=1)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""


def is_path(name_or_path: str | Path) -> bool:
    """Return whether the path of a YAML file is meant: it has a folder or ends in `.yaml` or `.yml`.

    >>> is_path("mnasnet"), is_path("mnasnet.yaml"), is_path("./mnasnet")
    (False, True, True)
    """
    text = str(name_or_path)
    return isinstance(name_or_path, Path) or "/" in text or text.endswith((".yaml", ".yml"))


def unknown_name(kind: str, name: str, names: Iterable[str]) -> str:
    """Return the error message for a name that is not one of `names`."""
    names = tuple(names)
    guess = did_you_mean(name, names)
    return f"no {kind} is called {name!r}{guess}; choose one of {', '.join(names)}, or give the path of a YAML file"
