"""Postprocessing of dense models: from probability maps to nuclei.

Maps are (H, W) float32 from 0 to 1. Label images are (H, W) int32: 0 is background, and the nuclei
are numbered from 1 to N.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from scipy.special import expit
from skimage.segmentation import expand_labels, watershed

from dsb2018.runtime.peaks import add_seedless, find_peaks
from dsb2018.runtime.voting import divide_by_votes
from dsb2018.structures.labels import (
    distance_to_background,
    label_components,
    opencv_without_ipp,
)
from dsb2018.structures.nuclei import Nuclei, Prediction

METHODS = ("components", "watershed", "votes")
SEEDS = ("map", "distance")
OFFSET_UNIT = 8.0  # pixels per unit of the offset maps, so that their values are about 1


class Maps(NamedTuple):
    """The probability maps that a dense model predicts for one image.

    Args:
        nucleus: (H, W) float32 probability that a pixel is part of a nucleus, 0 to 1.
        interior: (H, W) float32, 0 to 1, high inside of nuclei and low where two nuclei touch;
            None for a model without this map.
        offsets: (2, H, W) float32 vectors from each pixel to the center of its nucleus, downwards
            and to the right, pixels; None for a model without these maps.
    """

    nucleus: np.ndarray
    interior: np.ndarray | None
    offsets: np.ndarray | None = None


@dataclass(frozen=True)
class InstanceOptions:
    """The options of the postprocessing. Pixels are those of the maps.

    Args:
        method: "components": each connected component is a nucleus; "watershed": a watershed
            divides the components between seeds; "votes": see `divide_by_votes`.
        nucleus_thresh: minimum probability of a nucleus pixel, 0 to 1.
        seeds: watershed seeds. "map": the peaks of the interior map. "distance": the peaks of the
            distance to the edge of the region where the interior map is at least `seed_thresh`, for
            maps that are flat inside of nuclei. Without an interior map, always the peaks of the
            distance to the edge of the nuclei.
        seed_depth: minimum depth of the valley between two seeds: 0 to 1 with "map" and an interior
            map, votes per pixel with "votes", else pixels.
        seed_thresh: see `seeds`, 0 to 1.
        vote_blur: with "votes", the standard deviation of their blur, pixels; about a twelfth of
            the diameter of the nuclei.
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
    vote_blur: float = 2.0
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


def read_maps(logits: np.ndarray) -> Maps:
    """Converts the (2 to 5, H, W) float32 output of a network for one image to maps."""
    return Maps(
        expit(logits[1] - logits[0]),
        expit(logits[2]) if len(logits) > 2 else None,
        OFFSET_UNIT * logits[3:] if len(logits) > 3 else None,
    )


def read_probabilities(values: np.ndarray) -> Maps:
    """Converts the (1, 2 or 4, H, W) float32 output of `Probabilities` for one image to maps."""
    return Maps(
        values[0],
        values[1] if len(values) > 1 else None,
        values[2:] if len(values) > 2 else None,
    )


def output_size(sample: dict) -> tuple[int, int]:
    """Returns the height and width of the output for an input of a model."""
    height, width = sample["image"].shape[1:]
    return sample.get("height", height), sample.get("width", width)


def postprocess(
    maps: Maps, options: InstanceOptions, size: tuple[int, int] | None = None
) -> Prediction:
    """Converts the maps of one image to nuclei.

    Args:
        maps: the maps that a dense model predicts.
        options: see `InstanceOptions`.
        size: (H, W) of the image, if the maps have another scale.
    """
    labels = find_nuclei(maps, options)
    scores = score_nuclei(labels, maps.nucleus)
    foreground = maps.nucleus > 0.5
    if size and size != labels.shape:
        nucleus = _resize(maps.nucleus, size)
        labels, foreground = resize_labels(labels, maps.nucleus, nucleus, options), nucleus > 0.5
        kept = np.unique(labels[labels > 0])  # nuclei of less than a pixel are lost
        scores = scores[kept - 1]
    detections = Nuclei.from_labels(labels, scores)
    confident = np.flatnonzero(detections.scores >= options.score_thresh).tolist()
    crops = [detections.crops[index] for index in confident]
    nuclei = Nuclei(labels.shape, crops, detections.scores[confident])
    return Prediction(detections, nuclei, foreground)


def find_resized_nuclei(maps: Maps, options: InstanceOptions, size: tuple[int, int]) -> np.ndarray:
    """Returns the label image of all nuclei at the size (H, W) of the image, whatever their score.

    See `find_nuclei`.
    """
    labels = find_nuclei(maps, options)
    if size == labels.shape:
        return labels
    labels = resize_labels(labels, maps.nucleus, _resize(maps.nucleus, size), options)
    return drop_small(labels, 1)


def resize_labels(
    labels: np.ndarray, nucleus: np.ndarray, resized: np.ndarray, options: InstanceOptions
) -> np.ndarray:
    """Resizes a label image. The outlines follow the resized probabilities, so they are smooth.

    Args:
        labels: (h, w) label image of `find_nuclei`.
        nucleus: (h, w) probabilities, see `Maps`.
        resized: (H, W) the same at the new size.
        options: see `InstanceOptions`.

    Returns:
        (H, W) int32.
    """
    height, width = resized.shape
    inside = (labels > 0) & (nucleus < options.nucleus_thresh)  # holes that were filled
    size = (width, height)
    nearest = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
    filled = cv2.resize(inside.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
    nearest = nearest.astype(np.int32)  # exact below 2 ** 24 nuclei
    reach = int(np.ceil(max(height / labels.shape[0], width / labels.shape[1])))
    if reach > 1:
        nearest = expand_labels(nearest, reach)
    return np.where((resized >= options.nucleus_thresh) | filled, nearest, 0).astype(np.int32)


def _resize(nucleus: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes (h, w) probabilities to the size (H, W)."""
    return cv2.resize(nucleus, size[::-1], interpolation=cv2.INTER_LINEAR)


def find_nuclei(maps: Maps, options: InstanceOptions) -> np.ndarray:
    """Returns the label image of all nuclei, whatever their score.

    Args:
        maps: the maps of one image. Each method uses its maps only.
        options: see `InstanceOptions`.

    Returns:
        (H, W) int32.
    """
    nucleus, interior, offsets = maps
    mask = fill_holes(nucleus >= options.nucleus_thresh, options.max_hole)
    if options.method == "votes" and offsets is not None:
        return drop_small(
            divide_by_votes(mask, offsets, options.seed_depth, options.vote_blur), options.min_area
        )
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
