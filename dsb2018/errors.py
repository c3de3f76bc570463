"""Errors that several modules raise."""


class UsageError(ValueError):
    """Raised for an invalid argument, config file or config key.

    Command-line tools then end with exit status 2, see `dsb2018.cli`.
    """
