"""Label images: 0 is background, each other number is a nucleus.

A label image holds one nucleus per pixel. The ground truth of overlapping nuclei therefore consists
of several label images, called layers. Shapes: H, W are the height and width of the image, L is the
number of layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from scipy import ndimage

from dsb2018.structures.masks import Crop

MOST_LAYERS = 100


def crop_labels(labels: np.ndarray) -> list[tuple[int, Crop]]:
    """Returns the label and the mask of each nucleus in a (H, W) label image, sorted by label."""
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return [
        (label, Crop(box[1].start, box[0].start, labels[box] == label))
        for label, box in boxes
        if box
    ]


def crop_layers(layers: np.ndarray, min_area: int = 1) -> list[Crop]:
    """Returns the masks of all nuclei in (L, H, W) label layers, sorted by layer and label.

    Args:
        layers: unsigned integers. Each label is in one layer only.
        min_area: nuclei with fewer pixels are left out.
    """
    crops = [crop for layer in layers for _, crop in crop_labels(layer)]
    return [crop for crop in crops if crop.area >= min_area] if min_area > 1 else crops


def stack_labels(crops: Sequence[Crop], height: int, width: int) -> tuple[np.ndarray, int]:
    """Paints nuclei into label layers. Overlapping nuclei are painted into different layers.

    Args:
        crops: masks of the nuclei. The nucleus at index k gets the label k + 1.
        height, width: size of the image, pixels.

    Returns:
        (L, height, width) uint8 or uint16, 0 is background, L ≥ 1; and the number of nuclei
        that are not in the first layer, because they overlap a nucleus in it.

    Raises:
        ValueError: there are more than 65535 nuclei, or their overlaps need more than
            `MOST_LAYERS` layers.
    """
    if len(crops) > np.iinfo(np.uint16).max:
        raise ValueError(f"{len(crops)} nuclei in one image, expected at most 65535")
    dtype = np.uint8 if len(crops) <= np.iinfo(np.uint8).max else np.uint16
    layers = [np.zeros((height, width), dtype)]
    overlapping = 0
    for label, crop in enumerate(crops, start=1):
        box = crop.window
        free = (n for n, layer in enumerate(layers) if not layer[box][crop.mask].any())
        index = next(free, len(layers))
        if index == len(layers):
            if index == MOST_LAYERS:
                raise ValueError(f"more than {MOST_LAYERS} nuclei lie on top of each other")
            layers.append(np.zeros((height, width), dtype))
        layers[index][box][crop.mask] = label
        overlapping += index > 0
    return np.stack(layers), overlapping


def flatten_labels(layers: np.ndarray) -> np.ndarray:
    """Merges (L, H, W) layers into one (H, W) label image. Later layers cover earlier ones."""
    flat = layers[0].copy()
    for layer in layers[1:]:
        flat[layer > 0] = layer[layer > 0]
    return flat


def label_components(mask: np.ndarray) -> np.ndarray:
    """Labels the connected components of a (H, W) bool mask, with 8-connectivity."""
    return cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1]


def median_diameter(layers: np.ndarray) -> float:
    """Returns the median diameter of the nuclei in label layers, pixels; 0 without nuclei.

    The diameter of a nucleus is that of a circle with the same area.

    Args:
        layers: label image or label layers of any shape. Each nucleus has its own number.
    """
    areas = np.bincount(layers.ravel())[1:]
    areas = areas[areas > 0]
    return float(np.median(2 * np.sqrt(areas / np.pi))) if len(areas) else 0.0


def center_offsets(labels: np.ndarray) -> np.ndarray:
    """Returns the vector from each pixel of a nucleus to the center of mass of this nucleus.

    Args:
        labels: (H, W) label image.

    Returns:
        (2, H, W) float32 in pixels, downwards and to the right; 0 in the background.
    """
    offsets = np.zeros((2, *labels.shape), np.float32)
    pixels = np.nonzero(labels)
    found = labels[pixels]
    areas = np.maximum(np.bincount(found), 1)
    for axis, positions in enumerate(pixels):
        centers = np.bincount(found, weights=positions) / areas
        offsets[axis][pixels] = centers[found] - positions
    return offsets


def distance_to_background(mask: np.ndarray) -> np.ndarray:
    """Computes the Euclidean distance of each pixel to the nearest background pixel.

    The result is identical to the last bit in every thread and process, see `opencv_without_ipp`.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) float32 in pixels, correctly rounded; 0 in the background.
    """
    with opencv_without_ipp():
        return cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


@contextmanager
def opencv_without_ipp() -> Iterator[None]:
    """Disables Intel's IPP library in OpenCV, for this thread.

    With one thread, or for images below 128 × 128 pixels, OpenCV 4 and 5 use IPP for the distance
    transform. The last bit of IPP's result depends on the memory address of the array, so that two
    runs of the same program differ. OpenCV's own code is exact and as fast.
    """
    uses_ipp = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(uses_ipp)


def label_type(count: int) -> np.dtype:
    """Returns the dtype of a label image: 16 bits, or 32 bits for more than 65,535 nuclei."""
    return np.dtype(np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)
