"""The root of all errors of mnas, and the errors about a user's input; `mnas.errors` draws the whole tree."""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """The base of every error that mnas raises on purpose; messages name the thing, the rule and the remedy."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray copies errors between processes. The default calls the class with the message alone, which fails for a
        # class whose constructor takes something else.
        return _copied, (type(self), self.args, self.__dict__)


def _copied(error_class: type[Error], args: tuple[object, ...], attributes: dict[str, object]) -> Error:
    error = error_class.__new__(error_class, *args)
    error.__dict__.update(attributes)
    return error


class InputError(Error):
    """Something that the user gave cannot be used; the command line exits with 2."""


class DocumentError(InputError, ValueError):
    """A document (a YAML file, a JSON record) cannot be read or breaks its schema.

    The message gives the file, the key's path in it, what was found and what is allowed.
    """
