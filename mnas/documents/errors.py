"""The root of all errors of mnas, and the errors about a user's input; `mnas.errors` draws the whole tree."""

from __future__ import annotations


class Error(Exception):
    """The base of every error that mnas raises on purpose; messages name the thing, the rule and the remedy."""


class InputError(Error):
    """Something that the user gave cannot be used; the command line exits with 2."""


class DocumentError(InputError, ValueError):
    """A document (a YAML file, a JSON record) cannot be read or breaks its schema.

    The message gives the file, the key's path in it, what was found and what is allowed.
    """
