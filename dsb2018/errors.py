"""Errors that more than one part of the project raises."""


class UsageError(ValueError):
    """What the user wrote cannot be used: an argument, a config file, a key.

    Command-line tools end with exit status 2 on it; see `dsb2018.cli`.
    """
