"""The tiles of a large image.

An image is divided into cores. The model segments each core together with a margin around it, and
the two form a tile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dsb2018.errors import UsageError
from dsb2018.inference.tiling.blocks import Window
from dsb2018.structures.scale import pixels_per_step

# Windows begin at multiples of this, pixels. Other offsets would change the output of a network
# with downsampling layers.
STRIDE = 32

# Reads a window (y, x, height, width) as an array (height, width, 3) uint8.
WindowReader = Callable[[int, int, int, int], np.ndarray]


@dataclass(frozen=True)
class Tiling:
    """Size and overlap of tiles.

    Args:
        edge: height and width of a tile, margins included, pixels.
        margin: width of the margin around a core, pixels; should exceed the largest nucleus.
        whole: images up to this height and width are not tiled, pixels.
        stride: windows begin at multiples of this number of pixels.

    Raises:
        UsageError: the margins leave no core.
    """

    edge: int = 1024
    margin: int = 96
    whole: int = 1400
    stride: int = STRIDE

    def __post_init__(self):
        if self.margin < 0 or self.core < self.stride:
            max_margin = (self.edge // self.stride - 1) // 2 * self.stride
            if max_margin < 0:
                raise UsageError(
                    f"tiles of {self.edge} pixels, expected at least {self.stride} pixels"
                )
            raise UsageError(
                f"tiles of {self.edge} pixels with an overlap of {self.margin}, expected 0 to "
                f"{max_margin} pixels of overlap"
            )

    @property
    def core(self) -> int:
        """Largest height and width of a core, pixels."""
        margin = -(-self.margin // self.stride) * self.stride
        return (self.edge - 2 * margin) // self.stride * self.stride

    def at(self, zoom: float) -> "Tiling":
        """Returns tiles that have this size and overlap after a zoom of `zoom_for`."""
        if zoom == 1:
            return self
        n = pixels_per_step(zoom)
        edge, margin, whole = (
            round(pixels / STRIDE * n) for pixels in (self.edge, self.margin, self.whole)
        )
        return Tiling(edge, margin, whole, n)


class Tile(NamedTuple):
    """A part of an image. Core and window are (y, x, height, width) in pixels.

    Args:
        core: the pixels that belong to the tile.
        window: the core and its margin, which the model segments.
    """

    core: Window
    window: Window


def divide(height: int, width: int, tiling: Tiling) -> list[Tile]:
    """Divides an image into tiles, row by row. Only the last row and column may be smaller."""
    rows, columns = (_divide_axis(length, tiling) for length in (height, width))
    return [
        Tile((y, x, h, w), (wy, wx, wh, ww)) for y, h, wy, wh in rows for x, w, wx, ww in columns
    ]


def _divide_axis(length: int, tiling: Tiling) -> list[tuple[int, int, int, int]]:
    """Returns the begin and length of the core and of the window of each tile along one axis."""
    count = -(-length // tiling.core)
    size = -(-length // count // tiling.stride) * tiling.stride
    segments = []
    for begin in range(0, length, size):
        end = min(begin + size, length)
        window_begin = max(0, begin - tiling.margin) // tiling.stride * tiling.stride
        window_end = min(length, end + tiling.margin)
        segments.append((begin, end - begin, window_begin, window_end - window_begin))
    return segments
