"""The background of an image: the typical value of the pixels outside of nuclei."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.structures.nuclei import Nuclei

WINDOW = 1024  # edge of the windows that are read, pixels
SAMPLE = 4e6  # approximate number of pixels from which the background is estimated


def background_levels(nuclei: Nuclei, image: MicroscopyImage) -> np.ndarray:
    """Estimates the background of each channel: the median of the pixels outside of nuclei.

    Very large images are subsampled. If nuclei cover all pixels, the median of all pixels is used.

    Returns:
        (C,) float64.
    """
    return background_of(
        [
            sample_background(nuclei, pixels, y, x, image.size)
            for (y, x), pixels in image.windows(WINDOW).with_positions()
        ]
    )


class BackgroundSample(NamedTuple):
    """Pixels from which the background is estimated.

    Args:
        background: (N, C) pixels outside of nuclei.
        all: (M, C) pixels inside and outside of nuclei.
    """

    background: np.ndarray
    all: np.ndarray


def sample_background(
    nuclei: Nuclei, pixels: np.ndarray, y: int, x: int, size: tuple[int, int]
) -> BackgroundSample:
    """Chooses pixels of a window from which the background of the image is estimated.

    Args:
        nuclei: at least those with pixels in the window.
        pixels: (h, w, C) of the window.
        y, x: position of the window, pixels.
        size: (H, W) of the image, pixels. The pixels of very large images are subsampled.
    """
    step = max(1, int(np.sqrt(np.prod(size) / SAMPLE)))
    sample = pixels[::step, ::step]
    is_background = nuclei.window(y, x, *pixels.shape[:2])[::step, ::step] == 0
    return BackgroundSample(sample[is_background], sample.reshape(-1, sample.shape[2]))


def background_of(samples: Sequence[BackgroundSample]) -> np.ndarray:
    """Returns the background of an image from the samples of its windows, see
    `background_levels`.
    """
    has_background = any(len(sample.background) for sample in samples)
    chosen = [sample.background if has_background else sample.all for sample in samples]
    return np.median(np.concatenate(chosen), axis=0).astype(np.float64)
