"""Label images: 0 is background, each other number is a nucleus.

A label image holds one nucleus per pixel. Where nuclei overlap, the ground truth is kept as several
label images, called layers. Shapes: H, W are the height and width of the image, L is the number of
layers.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from scipy import ndimage

from dsb2018.structures.masks import EMPTY, RLE, Crop, crop_mask, decode

MOST_LAYERS = 100


def crop_labels(labels: np.ndarray) -> list[tuple[int, Crop]]:
    """The label and the mask of each nucleus in a (H, W) label image, by rising label."""
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return [
        (label, Crop(box[1].start, box[0].start, labels[box] == label))
        for label, box in boxes
        if box
    ]


def crop_layers(layers: np.ndarray, min_area: int = 1) -> list[Crop]:
    """The masks of all nuclei in (L, H, W) label layers, by layer and rising label.

    Args:
        layers: unsigned integers; each label is in one layer.
        min_area: nuclei of fewer pixels are left out.
    """
    crops = [crop for layer in layers for _, crop in crop_labels(layer)]
    return [crop for crop in crops if crop.area >= min_area] if min_area > 1 else crops


def stack_labels(crops: Sequence[Crop], height: int, width: int) -> tuple[np.ndarray, int]:
    """Paints nuclei into as few label images as keep every pixel of every nucleus.

    Args:
        crops: the nuclei; nucleus k of the sequence is painted with the value k + 1.
        height, width: of the image, in pixels.

    Returns:
        (L, height, width) uint8 or uint16, 0 is background, L ≥ 1; and the number of nuclei
        that went to a layer above the first, since they share a pixel with one in it.

    Raises:
        ValueError: more than 65535 nuclei, or so many that overlap each other that they would
            need more than `MOST_LAYERS`.
    """
    if len(crops) > np.iinfo(np.uint16).max:
        raise ValueError(f"{len(crops)} nuclei in one image, expected at most 65535")
    dtype = np.uint8 if len(crops) <= np.iinfo(np.uint8).max else np.uint16
    layers = [np.zeros((height, width), dtype)]
    overlapping = 0
    for label, crop in enumerate(crops, start=1):
        box = crop.window
        free = (d for d, layer in enumerate(layers) if not layer[box][crop.mask].any())
        depth = next(free, len(layers))
        if depth == len(layers):
            if depth == MOST_LAYERS:
                raise ValueError(f"more than {MOST_LAYERS} nuclei lie on top of each other")
            layers.append(np.zeros((height, width), dtype))
        layers[depth][box][crop.mask] = label
        overlapping += depth > 0
    return np.stack(layers), overlapping


def stack_rles(rles: Iterable[RLE], height: int, width: int) -> np.ndarray:
    """Like `stack_labels`, from RLEs; an empty RLE takes a label and paints nothing.

    Raises:
        ValueError: see `stack_labels` and `decode`, or an RLE of another size.
    """
    crops = []
    for rle in rles:
        if list(rle.get("size", ())) != [height, width]:  # looked at before memory is taken
            raise ValueError(f"an RLE of size {rle.get('size')}, expected {[height, width]}")
        crops.append(crop_mask(decode(rle)) or EMPTY)
    return stack_labels(crops, height, width)[0]


def flatten_labels(layers: np.ndarray) -> np.ndarray:
    """One (H, W) label image of (L, H, W) layers; where nuclei overlap, the upper layer wins."""
    flat = layers[0].copy()
    for layer in layers[1:]:
        flat[layer > 0] = layer[layer > 0]
    return flat


def distance_to_background(mask: np.ndarray) -> np.ndarray:
    """The Euclidean distance of each pixel to the nearest background pixel.

    The result has the same bits in every thread and process, see `opencv_without_ipp`.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) float32 in pixels, correctly rounded; 0 in the background.
    """
    with opencv_without_ipp():
        return cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


@contextmanager
def opencv_without_ipp() -> Iterator[None]:
    """Runs OpenCV's own code in this thread, without Intel's IPP library.

    With one thread, or an image below 128 × 128 pixels, OpenCV 4 and 5 leave the distance transform
    to IPP, whose last bit depends on the address of the array in memory: two runs of the same
    program then differ. OpenCV's own code is exact, and no slower.
    """
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)
