"""Additional target map of dense models, which separates touching nuclei."""

import cv2
import numpy as np

from dsb2018.config import check_separation
from dsb2018.structures.labels import distance_to_background, flatten_labels

UNKNOWN = -1.0  # value of a target map in images whose single nuclei are not known
BORDER_REACH = 2  # maximum distance of a border pixel to another nucleus, pixels


def interior_map(layers: np.ndarray, kind: str) -> np.ndarray | None:
    """Computes the target of a model's interior map.

    Args:
        layers: (L, H, W) unsigned integer label layers, 0 is background.
        kind: "border": 1 in nuclei, but 0 where another nucleus is at most `BORDER_REACH` pixels
            away; "distance": distance to the edge of the nucleus, divided by the maximum in this
            nucleus, so that it is 1 in the middle of small and large nuclei; "centers": the same;
            "none": no map. The edge pixels of a nucleus have the distance 1 before the division.

    Returns:
        (H, W) float32 from 0 to 1, 0 outside of nuclei; None for "none".

    Raises:
        ValueError: unknown kind.
    """
    check_separation(kind)
    if kind == "none":
        return None
    labels = flatten_labels(layers)
    return _inside_border(labels) if kind == "border" else _relative_distance(labels)


def _inside_border(labels: np.ndarray) -> np.ndarray:
    offsets = np.arange(-BORDER_REACH, BORDER_REACH + 1)
    disc = (offsets[:, None] ** 2 + offsets**2 <= BORDER_REACH**2).astype(np.uint8)
    labels = labels.astype(np.uint16)
    unused = np.iinfo(np.uint16).max
    highest = cv2.dilate(labels, disc, borderValue=0)
    lowest = cv2.erode(np.where(labels > 0, labels, unused), disc, borderValue=unused)
    return ((labels > 0) & (highest == lowest)).astype(np.float32)


def _relative_distance(labels: np.ndarray) -> np.ndarray:
    edge = np.zeros(labels.shape, bool)  # pixels with a neighbor of another label
    vertical, horizontal = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    for part, differs in ((edge[1:], vertical), (edge[:-1], vertical)):
        part |= differs
    for part, differs in ((edge[:, 1:], horizontal), (edge[:, :-1], horizontal)):
        part |= differs
    inside = (labels > 0) & ~edge
    distance = distance_to_background(inside)
    distance = np.where(labels > 0, np.minimum(distance, max(labels.shape)) + 1, 0)
    largest = np.ones(int(labels.max(initial=0)) + 1, np.float32)
    np.maximum.at(largest, labels.ravel(), distance.ravel())
    return (distance / largest[labels]).astype(np.float32)
