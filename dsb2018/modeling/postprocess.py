"""Postprocessing of dense models: from probability maps to nuclei.

Maps are (H, W) float32 from 0 to 1, label images (H, W) int32 with 0 as background and nuclei from
1 to N.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from skimage.segmentation import watershed

from dsb2018.structures.labels import distance_to_background, opencv_without_ipp
from dsb2018.structures.nuclei import Nuclei, Prediction

METHODS = ("components", "watershed")
SEEDS = ("map", "distance")


class Maps(NamedTuple):
    """What a dense model predicts for one image.

    Args:
        nucleus: (H, W) float32 probability that a pixel is part of a nucleus, 0 to 1.
        interior: (H, W) float32, 0 to 1: high inside of each nucleus and low where it touches
            another; None for a model without this map.
    """

    nucleus: np.ndarray
    interior: np.ndarray | None


@dataclass(frozen=True)
class InstanceOptions:
    """How maps become nuclei.

    Args:
        method: "components": pixels that hang together are one nucleus; "watershed": they are
            divided between seeds.
        nucleus_thresh: least probability of a nucleus's pixels, 0 to 1.
        seeds: of watershed, peaks: "map": of the interior map; "distance": of the distance to the
            edge of where that map is high, for one that is flat inside of nuclei. Without an
            interior map always of the distance to the edge of the nuclei.
        seed_depth: how far one must climb down from a peak to come to a higher one: with "map" and
            an interior 0 to 1, else pixels.
        seed_thresh: least interior, 0 to 1, with "distance".
        min_area: nuclei with fewer pixels are left out.
        max_hole: holes of at most so many pixels are filled.
        score_thresh: nuclei whose mean probability is lower do not count, 0 to 1.

    Raises:
        ValueError: another method, or other seeds.
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
        """The options in `MODEL.INSTANCES`, and `TEST.SCORE_THRESH`."""
        options = {name.lower(): value for name, value in cfg.MODEL.INSTANCES.items()}
        return cls(**options, score_thresh=cfg.TEST.SCORE_THRESH)


def postprocess(maps: Maps, options: InstanceOptions) -> Prediction:
    """The nuclei of one image.

    Args:
        maps: of the image, as a dense model predicts them.
        options: how maps become nuclei.
    """
    labels = find_nuclei(maps, options)
    detections = Nuclei.from_labels(labels, score_nuclei(labels, maps.nucleus))
    sure = np.flatnonzero(detections.scores >= options.score_thresh)
    crops = [detections.crops[index] for index in sure]
    nuclei = Nuclei(labels.shape, crops, detections.scores[sure])
    return Prediction(detections, nuclei, maps.nucleus > 0.5)


def find_nuclei(maps: Maps, options: InstanceOptions) -> np.ndarray:
    """The label image of all nuclei.

    Args:
        maps: the method "components" does not use the interior map.
        options: how maps become nuclei.

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


def label_components(mask: np.ndarray) -> np.ndarray:
    """Labels of what hangs together in a (H, W) bool mask over edges or corners."""
    return cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1]


def fill_holes(mask: np.ndarray, max_hole: int) -> np.ndarray:
    """Fills background of at most `max_hole` pixels that nuclei enclose, in a (H, W) bool mask."""
    if max_hole < 1:
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    height, width = mask.shape
    x, y, w, h = stats[:, :4].T
    inside = (x > 0) & (y > 0) & (x + w < width) & (y + h < height)  # else it may be larger
    hole = inside & (stats[:, cv2.CC_STAT_AREA] <= max_hole)
    hole[0] = False  # the nuclei
    return mask | hole[labels]


def distance_from_edge(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one outside of a (H, W) bool mask, float32 pixels,
    smoothed a little, since each bump of the outline has a ridge of its own."""
    with opencv_without_ipp():
        return cv2.GaussianBlur(distance_to_background(mask), (0, 0), 1.0)


def find_peaks(height: np.ndarray, depth: float) -> np.ndarray:
    """Peaks from which one must climb down by more than `depth` on any way to a higher one.

    These are the h-maxima of Soille, Morphological Image Analysis (1999). The function of that name
    in scikit-image keeps both of two equal peaks, however shallow the saddle between them.

    Args:
        height: (H, W) float32, 0 or more; the time is that of the largest region above 0.
        depth: in the unit of the height.

    Returns:
        (H, W) bool, true on the top of each peak.
    """
    steps = np.iinfo(np.uint16).max / max(float(height.max()), depth, 1e-6)
    levels = (height * steps).astype(np.uint16)  # whole numbers: OpenCV is fast, and equal is equal
    cut = reconstruct(cv2.subtract(levels, round(depth * steps)), levels)
    return cut > reconstruct(cv2.subtract(cut, 1), cut)


def reconstruct(marker: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Morphological reconstruction by dilation: the marker grows over edges and corners, but
    nowhere beyond the limit, until nothing changes. All (H, W) uint16; the marker is no higher than
    the limit."""
    neighbours = np.ones((3, 3), np.uint8)
    while True:
        before = marker
        for _ in range(8):
            marker = cv2.min(cv2.dilate(marker, neighbours), limit)
        if np.array_equal(marker, before):
            return marker


def add_seedless(seeds: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Makes components without a seed seeds themselves: small or faint nuclei.

    Args:
        seeds, parts: label images of seeds and of components.

    Returns:
        Labels of old and new seeds.
    """
    seeded = np.zeros(parts.max() + 1, bool)
    seeded[parts[seeds > 0]] = True
    seeded[0] = True  # the background needs none
    new = np.where(seeded, 0, np.cumsum(~seeded) + seeds.max())
    return np.where(seeds > 0, seeds, new[parts]).astype(np.int32)


def drop_small(labels: np.ndarray, min_area: int) -> np.ndarray:
    """Leaves out labels of fewer than `min_area` pixels and numbers the others from 1."""
    keep = np.bincount(labels.ravel()) >= max(1, min_area)
    keep[0] = False
    return (np.cumsum(keep) * keep).astype(np.int32)[labels]


def score_nuclei(labels: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    """(N,) float32: mean probability of each nucleus's pixels, 0 to 1."""
    areas = np.bincount(labels.ravel())[1:]
    sums = np.bincount(labels.ravel(), weights=nucleus.ravel())[1:]
    return (sums / areas).astype(np.float32)
