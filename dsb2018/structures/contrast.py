"""The contrast stretch: from the grey values of any microscope to the 8 bits that models take."""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

BINS, BINS_OF_BYTE = 1 << 16, 1 << 8
EXACT = 1 << 24  # OpenCV counts in float32
FEW = 1 << 8  # an image in fewer bins has lost grey values
ROUNDS = 10  # in which that is mended; each makes bins narrower by four decimals


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
            table = np.rint(np.clip((values - self.low) * scale, 0, 255)).astype(np.uint8)
            if pixels.dtype == np.uint16:
                return table[pixels]
            return cv2.LUT(np.ascontiguousarray(pixels), table).reshape(pixels.shape)
        if pixels.dtype == np.float16:  # which ends at 65,504
            pixels = pixels.astype(np.float32)
        return np.rint(np.clip((pixels - self.low) * scale, 0, 255)).astype(np.uint8)


def stretch_contrast(image: np.ndarray, percent: float) -> np.ndarray:
    """Stretches the grey values over 0 to 255, alike in all channels, so that hue is kept.

    Underexposed fluorescence images then look as bright as others to the model.

    Args:
        image: (H, W, C) of any real dtype.
        percent: share of the darkest and of the brightest values that may be cut off, 0 to 50.

    Returns:
        (H, W, C) uint8.
    """
    return find_range([image], percent).apply(image)


def find_range(windows: Iterable[np.ndarray], percent: float) -> GreyRange:
    """The grey values that `stretch_contrast` maps to 0 and 255, of an image read in windows.

    Args:
        windows: parts that together are the image, each pixel once, (h, w, C) of one real dtype.
            They are run through several times, so not an iterator.
        percent: share of the darkest and of the brightest values that may be cut off, 0 to 50.

    Returns:
        The range. An 8-bit image that has hardly more than one value stays as it is.

    Raises:
        ValueError: no pixels, or pixels that are NaN, infinite, or too large to compute with.
    """
    first_window = next(iter(windows), None)
    if first_window is None:
        raise ValueError("no pixels in it")
    dtype = first_window.dtype
    if dtype in (np.uint8, np.uint16):
        counts, first, step = _count_whole_numbers(windows, np.iinfo(dtype).max + 1), 0.0, 1.0
    else:
        counts, first, step = _find_bins(windows, percent)
    low, high = _cut(counts, percent)
    if high <= low:  # but for few pixels it is of one value
        if len(counts) == BINS_OF_BYTE:
            return GreyRange(0, 255)
        low, high = np.flatnonzero(counts)[[0, -1]].tolist()
        if high == low:
            return GreyRange(first + step * low, first + step * low + 1)
    return GreyRange(first + step * low, first + step * high)


def _cut(counts: np.ndarray, percent: float) -> tuple[int, int]:
    """The bins between which all but that share of the darkest and the brightest pixels is."""
    shares = np.cumsum(counts, dtype=np.float64) / counts.sum(dtype=np.float64)
    low = int(np.searchsorted(shares, percent / 100, side="right"))
    return low, int(np.searchsorted(shares, 1 - percent / 100, side="left"))


def _count_whole_numbers(windows: Iterable[np.ndarray], number: int) -> np.ndarray:
    counts = np.zeros(number, np.int64)
    for window in windows:
        if window.dtype == np.uint8 and window.size < EXACT:  # several times as fast
            pixels = np.ascontiguousarray(window).reshape(-1, 1)
            counts += cv2.calcHist([pixels], [0], None, [number], [0, number]).ravel().astype(int)
        else:
            counts += np.bincount(window.ravel(), minlength=number)
    return counts


def _find_bins(windows: Iterable[np.ndarray], percent: float) -> tuple[np.ndarray, float, float]:
    """Of signed, 32-bit and floating-point pixels: counts of as many bins as 16 bits have, the grey
    value of the first, and grey values per bin.

    Where a few pixels far off everything else leave it hardly any bins, the bins are set anew, over
    what is not cut off.
    """
    least, most = np.inf, -np.inf
    for window in windows:
        if not np.isfinite(window).all():
            raise ValueError("it has pixels that are NaN or infinite")
        least, most = min(least, float(window.min())), max(most, float(window.max()))
    if not np.isfinite(most - least):
        raise ValueError(f"pixels from {least:.3g} to {most:.3g}, a range that is too wide")
    found = whole = _count(windows, least, most)
    for _ in range(ROUNDS):
        counts, first, step = found
        low, high = _cut(counts, percent)
        if not step or high - low >= FEW:
            return found
        found = _count(windows, first + step * (low - 1), first + step * (high + 1))
    return whole  # all but those few pixels is of one value


def _count(
    windows: Iterable[np.ndarray], least: float, most: float
) -> tuple[np.ndarray, float, float]:
    """Counts of bins from the least to the most, which are also of what is beyond."""
    counts, step = np.zeros(BINS, np.int64), (most - least) / (BINS - 1)
    for window in windows:
        bins = (window.astype(np.float64) - least) / step if step else np.zeros(window.size)
        whole = np.rint(np.clip(bins, 0, BINS - 1)).astype(np.int64)
        counts += np.bincount(whole.ravel(), minlength=BINS)
    return counts, least, step
