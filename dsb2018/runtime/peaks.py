"""Peaks of maps, which become the seeds of nuclei.

Label images are (H, W) int32: 0 is background.
"""

import cv2
import numpy as np


def find_peaks(height: np.ndarray, depth: float) -> np.ndarray:
    """Finds peaks that a valley deeper than `depth` separates from all higher peaks.

    These are the h-maxima of Soille, Morphological Image Analysis (1999). scikit-image's
    `h_maxima` differs: it keeps both of two equal peaks, even if the saddle between them is
    shallow.

    Args:
        height: (H, W) float32, 0 or more. The run time depends on the largest region above 0.
        depth: minimum depth, in the unit of the height.

    Returns:
        (H, W) bool, True on the top of each peak.
    """
    steps = np.iinfo(np.uint16).max / max(float(height.max()), depth, 1e-6)
    levels = (height * steps).astype(np.uint16)  # integers are fast in OpenCV and compare exactly
    cut = reconstruct(cv2.subtract(levels, round(depth * steps)), levels)
    return cut > reconstruct(cv2.subtract(cut, 1), cut)


def reconstruct(marker: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Computes the morphological reconstruction by dilation, with 8-connectivity.

    Args:
        marker: (H, W) uint16, nowhere above the limit. It is dilated until it no longer changes.
        limit: (H, W) uint16, the upper limit of the result.

    Returns:
        (H, W) uint16.
    """
    neighbors = np.ones((3, 3), np.uint8)
    while True:
        previous = marker
        for _ in range(8):
            marker = cv2.min(cv2.dilate(marker, neighbors), limit)
        if np.array_equal(marker, previous):
            return marker


def add_seedless(seeds: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Adds a seed for each component that has none, so that small and faint nuclei are kept.

    The new seed is the whole component.

    Args:
        seeds, parts: label images of the seeds and of the components.

    Returns:
        The label image of all seeds.
    """
    seeded = np.zeros(parts.max() + 1, bool)
    seeded[parts[seeds > 0]] = True
    seeded[0] = True  # the background needs no seed
    new = np.where(seeded, 0, np.cumsum(~seeded) + seeds.max())
    return np.where(seeds > 0, seeds, new[parts]).astype(np.int32)
