"""Windows of an image that is too large to be processed as a whole."""

import numpy as np

from dsb2018.inference.tiling.tiles import WindowReader

EDGE = 512  # height and width of a chosen window, pixels
GRID = 4  # windows along each axis, of which some are chosen
CHOSEN = 4


def window_reader(image: np.ndarray) -> WindowReader:
    """Returns a function that reads the windows of a (H, W, C) array."""

    def read(y: int, x: int, height: int, width: int) -> np.ndarray:
        return image[y : y + height, x : x + width]

    return read


def choose_windows(read: WindowReader, size: tuple[int, int]) -> list[np.ndarray]:
    """Returns the windows of a grid that vary most, since they are likely to contain nuclei.

    Args:
        read: reads a window of the image.
        size: (H, W) of the image, pixels.

    Returns:
        Up to `CHOSEN` windows, the one that varies most first.
    """
    starts = [np.unique(np.linspace(0, max(0, edge - EDGE), GRID).astype(int)) for edge in size]
    height, width = (min(EDGE, edge) for edge in size)
    windows = [read(int(y), int(x), height, width) for y in starts[0] for x in starts[1]]
    return sorted(windows, key=lambda window: -float(window.std()))[:CHOSEN]
