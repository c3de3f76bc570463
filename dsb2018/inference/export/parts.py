"""Part files. Each image has its own part of a joined file, such as `nuclei.csv`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DamagedPartError(ValueError):
    """A part file cannot be read."""

    def __init__(self, part: Path, reason: object):
        super().__init__(
            f"{part}: damaged ({reason}); the tables were not written and this file was deleted, "
            "run the same command again to compute it"
        )
        self.part = part


@contextmanager
def reading(part: Path) -> Iterator[None]:
    """Converts errors of libraries that read a damaged part file to `DamagedPartError`."""
    try:
        yield
    except (ValueError, OSError, StopIteration) as error:
        raise DamagedPartError(part, error) from error
