"""From any microscope's grey values to the 8 bits that models are trained on."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

BINS, BINS_OF_BYTE = 1 << 16, 1 << 8


class GreyRange(NamedTuple):
    """The grey values that become 0 and 255."""

    low: float
    high: float

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of any shape and real dtype → uint8."""
        if (self.low, self.high) == (0, 255) and pixels.dtype == np.uint8:
            return pixels
        scale = 255 / (self.high - self.low)
        if pixels.dtype in (np.uint8, np.uint16):  # a table is several times as fast
            values = np.arange(np.iinfo(pixels.dtype).max + 1)
            return np.rint(np.clip((values - self.low) * scale, 0, 255)).astype(np.uint8)[pixels]
        return np.rint(np.clip((pixels - self.low) * scale, 0, 255)).astype(np.uint8)


def find_range(windows: Iterable[np.ndarray], percent: float) -> GreyRange:
    """The range that `dsb2018.data.images.stretch_contrast` would spread, of an image that is seen
    window by window.

    Args:
        windows: parts that together are the image, each pixel once, (h, w, C) of one real dtype.
            For others than 8 and 16 bit they are run through twice, so not an iterator.
        percent: share of the darkest and of the brightest values that may be cut off, 0 to 50.

    Returns:
        The range. An 8-bit image that has hardly more than one value stays as it is.

    Raises:
        ValueError: NaN or infinite pixels.
    """
    counts, first, step = _histogram(windows)
    shares = np.cumsum(counts, dtype=np.float64) / counts.sum(dtype=np.float64)
    low = int(np.searchsorted(shares, percent / 100, side="right"))
    high = int(np.searchsorted(shares, 1 - percent / 100, side="left"))
    if high <= low:  # but for few pixels it is of one value
        if len(counts) == BINS_OF_BYTE:
            return GreyRange(0, 255)
        low, high = np.flatnonzero(counts)[[0, -1]].tolist()
        if high == low:
            return GreyRange(first + step * low, first + step * low + 1)
    return GreyRange(first + step * low, first + step * high)


def _histogram(windows: Iterable[np.ndarray]) -> tuple[np.ndarray, float, float]:
    """Counts, the grey value of the first bin, and grey values per bin."""
    counts = None
    for window in windows:
        if window.dtype not in (np.uint8, np.uint16):
            return _wide_histogram(windows)
        if counts is None:
            counts = np.zeros(np.iinfo(window.dtype).max + 1, np.int64)
        counts += np.bincount(window.ravel(), minlength=len(counts))
    return counts, 0.0, 1.0


def _wide_histogram(windows: Iterable[np.ndarray]) -> tuple[np.ndarray, float, float]:
    """The same for signed, 32-bit and floating-point pixels: as many bins as 16 bits have."""
    least, most = np.inf, -np.inf
    for window in windows:
        values = window.astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it has pixels that are NaN or infinite")
        least, most = min(least, float(values.min())), max(most, float(values.max()))
    counts, step = np.zeros(BINS, np.int64), (most - least) / (BINS - 1)
    for window in windows:
        bins = (window.astype(np.float64) - least) / step if step else np.zeros(window.size)
        counts += np.bincount(np.rint(bins).astype(np.int64).ravel(), minlength=BINS)
    return counts, least, step
