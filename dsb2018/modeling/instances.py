"""From maps of probabilities to nuclei: connected components, and watershed.

Maps are (H, W) float32 from 0 to 1, label images (H, W) int32 with 0 as background and nuclei from
1 to N.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from skimage.segmentation import watershed

from dsb2018.masks import distance_to_background, opencv_without_ipp

METHODS = ("components", "watershed")
SEEDS = ("map", "distance")


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
        max_nuclei: an image's best nuclei that are kept as instances.

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
    max_nuclei: int = 1000

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"MODEL.INSTANCES.METHOD {self.method!r}, expected one of {METHODS}")
        if self.seeds not in SEEDS:
            raise ValueError(f"MODEL.INSTANCES.SEEDS {self.seeds!r}, expected one of {SEEDS}")

    @classmethod
    def from_config(cls, cfg) -> "InstanceOptions":
        """The options of `MODEL.INSTANCES`, and `TEST.DETECTIONS_PER_IMAGE`."""
        options = {name.lower(): value for name, value in cfg.MODEL.INSTANCES.items()}
        return cls(**options, max_nuclei=cfg.TEST.DETECTIONS_PER_IMAGE)


def maps_to_instances(
    nucleus: np.ndarray, interior: np.ndarray | None, options: InstanceOptions
) -> Instances:
    """The nuclei of one image, the best first.

    Args:
        nucleus: probability of nucleus.
        interior: see `find_nuclei`.
        options: how.

    Returns:
        N `pred_boxes` (float32 x0, y0, x1, y1 tight around the pixels), `scores` (float32, 0 to
        1), `pred_classes` (int64, all 0) and `pred_masks` (N, H, W) bool.
    """
    labels = find_nuclei(nucleus, interior, options)
    scores = score_nuclei(labels, nucleus)
    order = np.argsort(-scores, kind="stable")[: options.max_nuclei]  # each has a mask of its own
    masks = labels == (order + 1).astype(np.int32)[:, None, None]
    x, y, w, h = find_boxes(labels)[order].T
    instances = Instances(labels.shape)
    instances.pred_boxes = Boxes(torch.from_numpy(np.stack([x, y, x + w, y + h], axis=1)))
    instances.scores = torch.from_numpy(scores[order])
    instances.pred_classes = torch.zeros(len(order), dtype=torch.int64)
    instances.pred_masks = torch.from_numpy(masks)
    return instances


def find_nuclei(
    nucleus: np.ndarray, interior: np.ndarray | None, options: InstanceOptions
) -> np.ndarray:
    """Labels of the nuclei, all of them.

    Args:
        nucleus: probability of nucleus.
        interior: high inside of each nucleus and low where it touches another, or None. The method
            "components" does not look at it.
        options: how.

    Returns:
        (H, W) int32.
    """
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


def find_boxes(labels: np.ndarray) -> np.ndarray:
    """(N, 4) float32 x, y, width, height, tight around each label's pixels."""
    count = int(labels.max(initial=0))
    y, x = np.nonzero(labels)
    index = labels[y, x] - 1
    low, high = np.full((2, count), np.iinfo(np.int64).max), np.full((2, count), -1)
    for axis, values in enumerate((x, y)):
        np.minimum.at(low[axis], index, values)
        np.maximum.at(high[axis], index, values)
    return np.concatenate([low, high - low + 1]).T.astype(np.float32)
