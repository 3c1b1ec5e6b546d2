"""The errors of this package."""


class SpaceError(ValueError):
    """A search space, architecture or block string that breaks a rule; the message says which and how to mend it."""
