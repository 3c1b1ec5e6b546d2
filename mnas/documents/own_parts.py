"""Parts of a user's own code that a document names as `package.module:Name`.

Such a name runs code of the user's own machine, as `python -m package.module` does. Nothing is unpickled.
"""

from __future__ import annotations

import importlib
import os
import sys

from mnas.documents.errors import DocumentError


def is_own_part(name: str) -> bool:
    """Return whether `name` has the form `package.module:Name`.

    >>> is_own_part("my_search.data:load_photos"), is_own_part("ppo")
    (True, False)
    """
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def load_own_part(name: str) -> object:
    """Return what `package.module:Name` names: a class or a function.

    The module is looked for where Python looks, and then in the working directory, which becomes the last entry of
    `sys.path`. Ray gives the working directory to its workers too.

    Raises:
        DocumentError: The name has another form, the module cannot be imported, or it has no such attribute.
    """
    if not is_own_part(name):
        raise DocumentError(f"{name!r} is not of the form package.module:Name")
    module_name, _, attribute = name.partition(":")
    if (working_directory := os.getcwd()) not in sys.path:
        sys.path.append(working_directory)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise DocumentError(
            f"{name}: cannot import {module_name} ({type(error).__name__}: {error}); install it, put its folder on "
            "PYTHONPATH, or work in its folder"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise DocumentError(f"{name}: {module_name} has no {attribute}") from error
