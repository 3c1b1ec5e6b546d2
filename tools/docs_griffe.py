"""What mkdocstrings applies to docstrings before it renders them (`extensions:` in mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any

import griffe

# A doctest: a line with a prompt and all that follows up to an empty line.
_DOCTEST = re.compile(r"(?m)^>>> (?:.*\n?)(?:.+\n?)*")
# A drawn tree: its root and the lines with branches.
_TREE = re.compile(r"(?m)^.+\n(?:[├│└].*\n?)+")


class FencedExamples(griffe.Extension):
    """Put doctests and drawn trees into code blocks, since Markdown would join or quote their lines."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    r"""Return a docstring with its doctests and trees in code blocks.

    >>> fenced("Add.\n\n>>> 1 + 1\n2\n")
    'Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n'
    >>> fenced("The errors.\n\nError\n└── InputError")
    'The errors.\n\n```text\nError\n└── InputError\n```\n'
    """
    docstring = _TREE.sub(lambda match: f"```text\n{match[0].rstrip()}\n```\n", docstring)
    return _DOCTEST.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", docstring)
