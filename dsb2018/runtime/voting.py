"""Divides nuclei that touch by the votes of their pixels for a center.

The network predicts for each pixel the vector to the center of its nucleus, as Panoptic-DeepLab
(Cheng et al. 2020) does. Where many vectors end, there is a nucleus, and the pixels whose vectors
end there are its pixels.
"""

import cv2
import numpy as np
from skimage.measure import label
from skimage.segmentation import watershed

from dsb2018.runtime.peaks import add_seedless, find_peaks
from dsb2018.structures.labels import label_components

FEWEST_VOTES = 1e-3  # per pixel, in the region where nuclei are searched


def divide_by_votes(mask: np.ndarray, offsets: np.ndarray, depth: float, blur: float) -> np.ndarray:
    """Divides a mask of nuclei.

    Args:
        mask: (H, W) bool.
        offsets: (2, H, W) float32 vectors to the centers, downwards and to the right, pixels.
        depth: minimum depth of the valley between two centers, votes per pixel.
        blur: standard deviation of the blur of the votes, pixels.

    Returns:
        (H, W) int32 label image, whose nuclei cover the mask.
    """
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    voted_rows = np.clip(np.rint(rows + offsets[0][mask]), 0, height - 1).astype(np.intp)
    voted_columns = np.clip(np.rint(columns + offsets[1][mask]), 0, width - 1).astype(np.intp)
    counts = np.bincount(voted_rows * width + voted_columns, minlength=mask.size)
    votes = cv2.GaussianBlur(counts.reshape(mask.shape).astype(np.float32), (0, 0), blur)
    centers = label_components(find_peaks(votes, depth))
    basins = watershed(-votes, centers, connectivity=2, mask=votes > FEWEST_VOTES)
    labels = np.zeros(mask.shape, np.int32)
    labels[rows, columns] = basins[voted_rows, voted_columns]
    # A nucleus is in one piece: its smaller pieces are divided among its neighbors, and a region
    # without any center is one nucleus.
    markers = add_seedless(largest_pieces(labels), label_components(mask))
    flat = np.zeros(mask.shape, np.uint8)
    return watershed(flat, markers, connectivity=2, mask=mask).astype(np.int32)


def largest_pieces(labels: np.ndarray) -> np.ndarray:
    """Keeps the largest connected piece of each nucleus in a (H, W) label image."""
    pieces = label(labels, connectivity=2)
    areas = np.bincount(pieces.ravel())
    owners = np.zeros(len(areas), np.int64)
    owners[pieces.ravel()] = labels.ravel()
    by_area = np.argsort(areas[1:], kind="stable") + 1
    largest = np.zeros(labels.max(initial=0) + 1, np.int64)
    largest[owners[by_area]] = by_area  # the last one of a nucleus, which is its largest, stays
    is_kept = np.zeros(len(areas), bool)
    is_kept[largest[1:]] = True
    is_kept[0] = False
    return np.where(is_kept[pieces], labels, 0)
