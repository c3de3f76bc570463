"""Parts of files that all images share: each image's part is kept until all are joined."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DamagedPartError(ValueError):
    """A part that was written cannot be read any more."""

    def __init__(self, part: Path, reason: object):
        super().__init__(
            f"{part}: damaged ({reason}), so the tables were not written; it is deleted, and the "
            "same command computes its image again"
        )
        self.part = part


@contextmanager
def reading(part: Path) -> Iterator[None]:
    """Turns what a library raises on a damaged part into `DamagedPartError`."""
    try:
        yield
    except (ValueError, OSError, StopIteration) as error:
        raise DamagedPartError(part, error) from error
