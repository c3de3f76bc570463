"""Contrast stretch: converts the gray values of any microscope to the 8 bits of model inputs."""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

BINS, BINS_OF_BYTE = 1 << 16, 1 << 8
MAX_FLOAT32_COUNT = 1 << 24  # OpenCV counts in float32, which is exact up to this number
MIN_BINS = 1 << 8  # an image in fewer bins loses gray values
MAX_REFINEMENTS = 10  # each narrows the bins by up to four decimal places


class GreyRange(NamedTuple):
    """The gray values that are mapped to 0 and 255."""

    low: float
    high: float

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Maps pixels of any shape and real dtype to uint8."""
        if (self.low, self.high) == (0, 255) and pixels.dtype == np.uint8:
            return pixels
        scale = 255 / (self.high - self.low)
        if pixels.dtype in (np.uint8, np.uint16):  # a lookup table is several times faster
            values = np.arange(np.iinfo(pixels.dtype).max + 1)
            table = np.rint(np.clip((values - self.low) * scale, 0, 255)).astype(np.uint8)
            if pixels.dtype == np.uint16:
                return table[pixels]
            return cv2.LUT(np.ascontiguousarray(pixels), table).reshape(pixels.shape)
        if pixels.dtype == np.float16:  # float16 overflows above 65,504
            pixels = pixels.astype(np.float32)
        return np.rint(np.clip((pixels - self.low) * scale, 0, 255)).astype(np.uint8)

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        """Applies the stretch to (h, w, 1 or 3) pixels; returns (h, w, 3) uint8 RGB."""
        stretched = self.apply(pixels)
        if stretched.shape[2] == 1:
            return cv2.cvtColor(stretched, cv2.COLOR_GRAY2RGB)
        return np.ascontiguousarray(stretched)


def stretch_contrast(image: np.ndarray, percent: float | None) -> np.ndarray:
    """Stretches the gray values to 0 to 255, equally in all channels, so that the hue is kept.

    The model then gets images of similar brightness, even if some are underexposed.

    Args:
        image: (H, W, 1) gray values or (H, W, 3) RGB of any real dtype.
        percent: see `find_range`.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    return find_range([image], percent).to_rgb(image)


def find_range(windows: Iterable[np.ndarray], percent: float | None) -> GreyRange:
    """Returns the gray values that `stretch_contrast` maps to 0 and 255, for an image in windows.

    Args:
        windows: parts of the image, which together contain each pixel once: (h, w, C) arrays of one
            real dtype. They are iterated several times, so an iterator is not allowed.
        percent: percentage of the darkest and of the brightest values that are clipped, 0 to 50.
            None: no stretch; the range is that of the dtype, or that of the image if the dtype is
            signed or a floating-point type.

    Returns:
        The range. With a percentage, it is 0 to 255 for an 8-bit image in which almost all pixels
        have one value.

    Raises:
        ValueError: the image has no pixels, or pixels that are NaN, infinite or too large.
    """
    first_window = next(iter(windows), None)
    if first_window is None:
        raise ValueError("the image has no pixels")
    dtype = first_window.dtype
    if percent is None:
        if dtype.kind == "u":
            return GreyRange(0, np.iinfo(dtype).max)
        percent = 0.0
    if dtype in (np.uint8, np.uint16):
        counts, first, step = _count_values(windows, np.iinfo(dtype).max + 1), 0.0, 1.0
    else:
        counts, first, step = _count_bins(windows, percent)
    low, high = _find_limits(counts, percent)
    if high <= low:  # almost all pixels have one value
        if len(counts) == BINS_OF_BYTE:
            return GreyRange(0, 255)
        low, high = np.flatnonzero(counts)[[0, -1]].tolist()
        if high == low:
            return GreyRange(first + step * low, first + step * low + 1)
    return GreyRange(first + step * low, first + step * high)


def _find_limits(counts: np.ndarray, percent: float) -> tuple[int, int]:
    """Returns the lowest and the highest bin after clipping."""
    shares = np.cumsum(counts, dtype=np.float64) / counts.sum(dtype=np.float64)
    low = int(np.searchsorted(shares, percent / 100, side="right"))
    return low, int(np.searchsorted(shares, 1 - percent / 100, side="left"))


def _count_values(windows: Iterable[np.ndarray], number: int) -> np.ndarray:
    counts = np.zeros(number, np.int64)
    for window in windows:
        if window.dtype == np.uint8 and window.size < MAX_FLOAT32_COUNT:  # several times faster
            pixels = np.ascontiguousarray(window).reshape(-1, 1)
            counts += cv2.calcHist([pixels], [0], None, [number], [0, number]).ravel().astype(int)
        else:
            counts += np.bincount(window.ravel(), minlength=number)
    return counts


def _count_bins(windows: Iterable[np.ndarray], percent: float) -> tuple[np.ndarray, float, float]:
    """Counts signed, 32-bit and floating-point pixels in `BINS` bins.

    If outliers leave too few bins for the other pixels, the bins are set again, over the range that
    is not clipped.

    Returns:
        The counts, the gray value of the first bin, and the number of gray values per bin.
    """
    least, most = np.inf, -np.inf
    for window in windows:
        if not np.isfinite(window).all():
            raise ValueError("the image has pixels that are NaN or infinite")
        least, most = min(least, float(window.min())), max(most, float(window.max()))
    if not np.isfinite(most - least):
        raise ValueError(
            f"gray values from {least:.3g} to {most:.3g}, a range that is too wide for float64"
        )
    histogram = full_histogram = _count_in_range(windows, least, most)
    for _ in range(MAX_REFINEMENTS):
        counts, first, step = histogram
        low, high = _find_limits(counts, percent)
        if not step or high - low >= MIN_BINS:
            return histogram
        histogram = _count_in_range(windows, first + step * (low - 1), first + step * (high + 1))
    return full_histogram  # all pixels but the outliers have one value


def _count_in_range(
    windows: Iterable[np.ndarray], least: float, most: float
) -> tuple[np.ndarray, float, float]:
    """Counts pixels in bins from `least` to `most`. Pixels outside are in the first or last bin."""
    counts, step = np.zeros(BINS, np.int64), (most - least) / (BINS - 1)
    for window in windows:
        bins = (window.astype(np.float64) - least) / step if step else np.zeros(window.size)
        indices = np.rint(np.clip(bins, 0, BINS - 1)).astype(np.int64)
        counts += np.bincount(indices.ravel(), minlength=BINS)
    return counts, least, step
