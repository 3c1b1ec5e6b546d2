"""What mkdocstrings applies to docstrings before it renders them (`extensions:` in mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any

import griffe

# A doctest: a line with a prompt and all that follows up to an empty line.
_DOCTEST = re.compile(r"(?m)^>>> (?:.*\n?)(?:.+\n?)*")


class FencedDoctests(griffe.Extension):
    """Put doctests into code blocks; Markdown would take the prompt `>>>` for a quotation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    r"""Return a docstring with its doctests in code blocks.

    >>> fenced("Add.\n\n>>> 1 + 1\n2\n")
    'Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n'
    """
    return _DOCTEST.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", docstring)
