"""The errors that users can cause or mend; the command line prints them without a traceback."""


class MnasError(Exception):
    """Base of mnas' own errors: the message names the thing, the rule and the remedy."""


class ConfigurationError(MnasError):
    """An experiment, recipe or option that cannot be used as written."""


class DataError(MnasError):
    """Training data that is missing, empty, unreadable or of the wrong form."""
