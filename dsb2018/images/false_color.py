"""Fluorescence images that were saved in color, such as a nuclear stain in blue on black.

The models know fluorescence as gray images, and color as stained tissue on a bright background.
The two are far apart: of 107 colored images of DSB2018, the darkest has a median brightness of 0.89
of its brightest pixels; of examples of CellProfiler and ImageJ in false colors, at most 0.18.
"""

import numpy as np

DARK = 0.4  # median brightness of a fluorescence image, relative to its brightest pixels
COLORFUL = 0.1  # difference between the channels of such pixels, relative to their brightness
FAINT = 0.25  # largest range of values in a channel without a stain, relative to the brightest
SAME = 0.9  # least correlation of channels that show the same stain
MOST_PIXELS = 1 << 18  # more than enough for the statistics


def is_false_color(pixels: np.ndarray) -> bool:
    """Returns whether a picture shows fluorescence, colored, on a dark background.

    Args:
        pixels: (H, W, 3) RGB of any real dtype.
    """
    sample = _sample(pixels)
    brightness = sample.max(axis=1)
    if not 0 < brightness.max() < np.inf:  # black, or damaged
        return False
    brightest = np.percentile(brightness, 99.5)
    if np.median(brightness) > DARK * brightest:
        return False
    bright = sample[brightness >= brightest / 2]
    return bool(np.median(np.ptp(bright, axis=1)) > COLORFUL * brightest)


def only_stain(pixels: np.ndarray) -> int | None:
    """Finds the channel of the only stain of a fluorescence image in false color.

    Args:
        pixels: (H, W, 3) RGB of any real dtype.

    Returns:
        The index of the brightest channel. None if the picture is not in false color, or if its
        channels show different stains.
    """
    if not is_false_color(pixels):
        return None
    sample = _sample(pixels)
    ranges = np.subtract(*np.percentile(sample, (99.5, 0.5), axis=0))
    brightest = int(ranges.argmax())
    for channel in range(3):
        if ranges[channel] > FAINT * ranges[brightest]:
            same = np.corrcoef(sample[:, channel], sample[:, brightest])[0, 1]
            if same < SAME:
                return None
    return brightest


def _sample(pixels: np.ndarray) -> np.ndarray:
    """Returns some pixels as (n, 3) float64."""
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / MOST_PIXELS)))
    return pixels[::step, ::step].reshape(-1, 3).astype(np.float64)
