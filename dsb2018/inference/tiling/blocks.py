"""Blocks of a large image, whose nuclei are stitched, measured and exported block by block.

No process then holds all nuclei of a slide, and several processes can share the work. A nucleus
belongs to the block that contains the upper left corner of its bounding box. The blocks depend on
the size of the image only, so that the results do not depend on the number of processes.
"""

from collections.abc import Iterator
from typing import NamedTuple

EDGE = 2048  # height and width of a block, pixels; a multiple of `measurements.BLOCK`

Window = tuple[int, int, int, int]  # y, x, height, width in pixels


class Blocks(NamedTuple):
    """The blocks of an image, numbered row by row.

    Args:
        height, width: of the image, pixels.
        edge: of a block, pixels.
    """

    height: int
    width: int
    edge: int

    @property
    def count(self) -> int:
        """Number of blocks."""
        return self._rows * self.columns

    @property
    def _rows(self) -> int:
        return -(-self.height // self.edge)

    @property
    def columns(self) -> int:
        """Number of blocks in a row."""
        return -(-self.width // self.edge)

    def window(self, number: int, margin: int = 0) -> Window:
        """Returns the pixels of a block with a margin, clipped to the image."""
        row, column = divmod(number, self.columns)
        top, left = max(0, row * self.edge - margin), max(0, column * self.edge - margin)
        bottom = min(self.height, (row + 1) * self.edge + margin)
        right = min(self.width, (column + 1) * self.edge + margin)
        return top, left, bottom - top, right - left

    def around(self, number: int, rings: int) -> Iterator[int]:
        """Iterates over a block and the blocks around it, in ascending order."""
        row, column = divmod(number, self.columns)
        for y in range(max(0, row - rings), min(self._rows, row + rings + 1)):
            for x in range(max(0, column - rings), min(self.columns, column + rings + 1)):
                yield y * self.columns + x

    def order(self, y: int, x: int) -> tuple[int, int, int, int]:
        """Returns the key by which nuclei are sorted: by block, and in it from top to bottom."""
        return y // self.edge, x // self.edge, y, x


def blocks_of(size: tuple[int, int]) -> Blocks:
    """Returns the blocks of an image of (H, W) pixels."""
    return Blocks(*size, EDGE)
