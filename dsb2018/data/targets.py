"""What dense models learn beside the semantic map, to tell nuclei apart that touch."""

import cv2
import numpy as np

from dsb2018.config import check_separation
from dsb2018.structures.labels import distance_to_background, flatten_labels

BORDER_REACH = 2  # pixels: a nucleus's pixel so near to another nucleus is border


def interior_map(layers: np.ndarray, kind: str) -> np.ndarray | None:
    """How far inside of its nucleus each pixel lies.

    Args:
        layers: (L, H, W) unsigned integer label layers, 0 is background.
        kind: "border": 1 in nuclei, but 0 where another nucleus is `BORDER_REACH` pixels away or
            less; "distance": distance to the edge of the nucleus, whose own pixels have distance
            1, divided by its largest, so 1 in the middle of small and large ones; "none".

    Returns:
        (H, W) float32, 0 outside of nuclei, at most 1; None for "none".

    Raises:
        ValueError: another kind.
    """
    check_separation(kind)
    if kind == "none":
        return None
    labels = flatten_labels(layers)
    return _inside_border(labels) if kind == "border" else _relative_distance(labels)


def _inside_border(labels: np.ndarray) -> np.ndarray:
    away = np.arange(-BORDER_REACH, BORDER_REACH + 1)
    reach = (away[:, None] ** 2 + away**2 <= BORDER_REACH**2).astype(np.uint8)
    labels = labels.astype(np.uint16)
    last = np.iinfo(np.uint16).max
    highest = cv2.dilate(labels, reach, borderValue=0)
    lowest = cv2.erode(np.where(labels > 0, labels, last), reach, borderValue=last)
    return ((labels > 0) & (highest == lowest)).astype(np.float32)


def _relative_distance(labels: np.ndarray) -> np.ndarray:
    edge = np.zeros(labels.shape, bool)  # beside a pixel of another label
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    for rim, differs in ((edge[1:], down), (edge[:-1], down)):
        rim |= differs
    for rim, differs in ((edge[:, 1:], right), (edge[:, :-1], right)):
        rim |= differs
    inside = (labels > 0) & ~edge
    distance = distance_to_background(inside)
    distance = np.where(labels > 0, np.minimum(distance, max(labels.shape)) + 1, 0)
    largest = np.ones(int(labels.max(initial=0)) + 1, np.float32)
    np.maximum.at(largest, labels.ravel(), distance.ravel())
    return (distance / largest[labels]).astype(np.float32)
