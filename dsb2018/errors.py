"""Errors that several modules raise."""


class UsageError(ValueError):
    """Raised for an invalid argument, config file or config key.

    Command-line tools then end with exit status 2, see `dsb2018.cli`.
    """


class DamagedWeightsError(ValueError):
    """Raised when a file of weights cannot be read."""


class InputError(ValueError):
    """Input data are missing, damaged or inconsistent.

    Args:
        path: the file or folder.
        problem: what is wrong with it.
        remedy: what was expected, or how to correct it.
    """

    def __init__(self, path, problem: str, remedy: str = ""):
        super().__init__(path, problem, remedy)
        self.path = str(path)

    def __str__(self) -> str:
        path, problem, remedy = self.args
        return f"{path}: {problem}" + (f" ({remedy})" if remedy else "")
