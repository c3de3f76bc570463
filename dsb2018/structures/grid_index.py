"""A spatial index: which nuclei may have pixels in a window."""

from collections import defaultdict
from collections.abc import Iterator

from dsb2018.structures.masks import Crop


class GridIndex:
    """Numbers of crops by the cells of a grid, so that only nearby crops are searched."""

    def __init__(self, cell: int):
        """
        Args:
            cell: height and width of a cell, pixels.
        """
        self._cell = cell
        self._numbers: dict[tuple[int, int], list[int]] = defaultdict(list)

    def add(self, number: int, crop: Crop) -> None:
        """Adds a number to all cells that the box of a crop overlaps."""
        for cell in self._cells(crop.y, crop.x, crop.height, crop.width):
            self._numbers[cell].append(number)

    def near(self, y: int, x: int, height: int, width: int) -> set[int]:
        """Returns the numbers of the crops that may have pixels in a window, and of few others."""
        cells = self._cells(y, x, height, width)
        return {number for cell in cells for number in self._numbers.get(cell, ())}

    def _cells(self, y: int, x: int, height: int, width: int) -> Iterator[tuple[int, int]]:
        for row in range(y // self._cell, (y + height - 1) // self._cell + 1):
            for column in range(x // self._cell, (x + width - 1) // self._cell + 1):
                yield row, column
