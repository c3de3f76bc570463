"""Postprocessing of dense models: from probability maps to nuclei.

Maps are (H, W) float32 from 0 to 1. Label images are (H, W) int32: 0 is background, and the nuclei
are numbered from 1 to N.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from skimage.segmentation import watershed

from dsb2018.structures.labels import (
    distance_to_background,
    label_components,
    opencv_without_ipp,
)
from dsb2018.structures.nuclei import Nuclei, Prediction

METHODS = ("components", "watershed")
SEEDS = ("map", "distance")


class Maps(NamedTuple):
    """The probability maps that a dense model predicts for one image.

    Args:
        nucleus: (H, W) float32 probability that a pixel is part of a nucleus, 0 to 1.
        interior: (H, W) float32, 0 to 1, high inside of nuclei and low where two nuclei touch;
            None for a model without this map.
    """

    nucleus: np.ndarray
    interior: np.ndarray | None


@dataclass(frozen=True)
class InstanceOptions:
    """The options of the postprocessing.

    Args:
        method: "components": each connected component is a nucleus; "watershed": a watershed
            divides the components between seeds.
        nucleus_thresh: minimum probability of a nucleus pixel, 0 to 1.
        seeds: watershed seeds. "map": the peaks of the interior map. "distance": the peaks of the
            distance to the edge of the region where the interior map is at least `seed_thresh`, for
            maps that are flat inside of nuclei. Without an interior map, always the peaks of the
            distance to the edge of the nuclei.
        seed_depth: minimum depth of the valley between two seeds: 0 to 1 with "map" and an interior
            map, else pixels.
        seed_thresh: see `seeds`, 0 to 1.
        min_area: nuclei with fewer pixels are removed.
        max_hole: holes of up to this number of pixels are filled.
        score_thresh: minimum mean probability of the pixels of a nucleus, 0 to 1. Below it, a
            nucleus is in `Prediction.detections` only.

    Raises:
        ValueError: unknown method or seeds.
    """

    method: str = "components"
    nucleus_thresh: float = 0.5
    seeds: str = "map"
    seed_depth: float = 1.0
    seed_thresh: float = 0.5
    min_area: int = 1
    max_hole: int = 0
    score_thresh: float = 0.0

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"MODEL.INSTANCES.METHOD {self.method!r}, expected one of {METHODS}")
        if self.seeds not in SEEDS:
            raise ValueError(f"MODEL.INSTANCES.SEEDS {self.seeds!r}, expected one of {SEEDS}")

    @classmethod
    def from_config(cls, cfg) -> "InstanceOptions":
        """Returns the options in `MODEL.INSTANCES` and `TEST.SCORE_THRESH`."""
        options = {name.lower(): value for name, value in cfg.MODEL.INSTANCES.items()}
        return cls(**options, score_thresh=cfg.TEST.SCORE_THRESH)


def postprocess(maps: Maps, options: InstanceOptions) -> Prediction:
    """Converts the maps of one image to nuclei.

    Args:
        maps: the maps that a dense model predicts.
        options: see `InstanceOptions`.
    """
    labels = find_nuclei(maps, options)
    detections = Nuclei.from_labels(labels, score_nuclei(labels, maps.nucleus))
    confident = np.flatnonzero(detections.scores >= options.score_thresh).tolist()
    crops = [detections.crops[index] for index in confident]
    nuclei = Nuclei(labels.shape, crops, detections.scores[confident])
    return Prediction(detections, nuclei, maps.nucleus > 0.5)


def find_nuclei(maps: Maps, options: InstanceOptions) -> np.ndarray:
    """Returns the label image of all nuclei, whatever their score.

    Args:
        maps: the maps of one image. The method "components" does not use the interior map.
        options: see `InstanceOptions`.

    Returns:
        (H, W) int32.
    """
    nucleus, interior = maps
    mask = fill_holes(nucleus >= options.nucleus_thresh, options.max_hole)
    parts = label_components(mask)
    if options.method == "watershed" and mask.any():
        inside, height = mask, interior
        if interior is not None and options.seeds == "distance":
            inside, height = mask & (interior >= options.seed_thresh), None
        height = np.where(inside, distance_from_edge(inside) if height is None else height, 0)
        seeds = find_peaks(height, options.seed_depth)
        markers = add_seedless(label_components(seeds), parts)
        parts = watershed(-height, markers, connectivity=2, mask=mask).astype(np.int32)
    return drop_small(parts, options.min_area)


def fill_holes(mask: np.ndarray, max_hole: int) -> np.ndarray:
    """Fills holes of up to `max_hole` pixels in a (H, W) bool mask."""
    if max_hole < 1:
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    height, width = mask.shape
    x, y, w, h = stats[:, :4].T
    is_inside = (x > 0) & (y > 0) & (x + w < width) & (y + h < height)  # does not touch the border
    is_hole = is_inside & (stats[:, cv2.CC_STAT_AREA] <= max_hole)
    is_hole[0] = False  # label 0 is the nuclei
    return mask | is_hole[labels]


def distance_from_edge(mask: np.ndarray) -> np.ndarray:
    """Returns the smoothed distance of each pixel to the outside of a (H, W) bool mask.

    The distance is smoothed because every bump of the outline causes a ridge.

    Returns:
        (H, W) float32 in pixels.
    """
    with opencv_without_ipp():
        return cv2.GaussianBlur(distance_to_background(mask), (0, 0), 1.0)


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


def drop_small(labels: np.ndarray, min_area: int) -> np.ndarray:
    """Removes labels with fewer than `min_area` pixels and renumbers the others from 1."""
    keep = np.bincount(labels.ravel()) >= max(1, min_area)
    keep[0] = False
    return (np.cumsum(keep) * keep).astype(np.int32)[labels]


def score_nuclei(labels: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    """Returns the mean probability of the pixels of each nucleus, (N,) float32 from 0 to 1."""
    areas = np.bincount(labels.ravel())[1:]
    sums = np.bincount(labels.ravel(), weights=nucleus.ravel())[1:]
    return (sums / areas).astype(np.float32)
