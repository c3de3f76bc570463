"""The measurements of a large image, which stay on disk."""

from collections.abc import Iterator, Mapping

import numpy as np

from dsb2018.inference.measurements import Columns
from dsb2018.inference.tiling.array_cache import ArrayCache


class StoredColumns(Mapping[str, np.ndarray]):
    """The measurements of all nuclei, which are read when they are needed."""

    def __init__(self, cache: ArrayCache, count: int):
        """
        Args:
            cache: contains the columns of each block.
            count: number of blocks.
        """
        self._cache, self._count = cache, count
        self._names = list(cache.read(columns_name(0)))

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return np.concatenate(
            [self._cache.read(columns_name(n), name)[name] for n in range(self._count)]
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def blocks(self) -> Iterator[Columns]:
        """Iterates over the columns of each block."""
        for number in range(self._count):
            yield self._cache.read(columns_name(number))


def columns_name(number: int) -> str:
    """Returns the name of the arrays of a block's measurements."""
    return f"{number:06d}.columns"
