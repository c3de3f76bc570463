"""The error that the preparation raises for unusable data."""


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
