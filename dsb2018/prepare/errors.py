"""The one error of the preparation."""


class BadInput(ValueError):
    """Data that cannot be used as they are: says which file, what was found, what to do.

    Args:
        path: the file or folder, as the user knows it.
        found: what is wrong with it.
        remedy: what was expected, or what to do about it.
    """

    def __init__(self, path, found: str, remedy: str = ""):
        super().__init__(path, found, remedy)
        self.path = str(path)

    def __str__(self) -> str:
        path, found, remedy = self.args
        return f"{path}: {found}" + (f" ({remedy})" if remedy else "")
