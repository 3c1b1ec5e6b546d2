"""The errors of this package."""


class SpaceError(ValueError):
    """A search space, architecture or block string that breaks a rule; the message says which and how to mend it."""


class DocumentError(ValueError):
    """A document (a YAML file, a JSON record) that cannot be read or breaks its schema.

    The message gives the file, the key's path in it, what was found and what is allowed.
    """
