"""Outlines of nuclei, drawn on images."""

import cv2
import numpy as np
from scipy import ndimage

from dsb2018.structures.labels import flatten_labels

# RGB. Sky blue and yellow of the Okabe-Ito palette, which color-blind readers can tell apart. They
# are bright enough for fluorescence images; the dark halo makes them visible on stained tissue.
TRUTH, PREDICTED, HALO = (86, 180, 233), (240, 228, 66), (0, 0, 0)
PADDING = 16  # pixels; even in a thumbnail more than half the width of a line


def find_outlines(labels: np.ndarray) -> list[np.ndarray]:
    """Returns the outline of each nucleus and of each hole in a nucleus.

    Args:
        labels: (H, W) integer, 0 is background.

    Returns:
        Closed polygons as in OpenCV, (N, 1, 2) int32: x, y of the outermost pixels. If the border
        of the image cuts a nucleus, its polygon continues outside the image.
    """
    # The border of an image or a tile is not the edge of a nucleus, so extend the nuclei beyond it.
    padded = np.pad(labels.astype(np.int32, copy=False), PADDING, mode="edge")
    outlines = []
    for label, box in enumerate(ndimage.find_objects(padded), start=1):
        if box is not None:
            mask = (padded[box] == label).astype(np.uint8)
            corner = box[1].start - PADDING, box[0].start - PADDING
            outlines += cv2.findContours(
                mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE, offset=corner
            )[0]
    return outlines


def draw_outlines(
    image: np.ndarray, labels: np.ndarray, color: tuple[int, int, int], zoom: int = 2
) -> np.ndarray:
    """Draws the outline of each nucleus, three pixels wide, with a dark halo of one pixel.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integer, 0 is background.
        color: RGB, 0 to 255.
        zoom: output pixels per input pixel; with a larger zoom, the outlines hide less.

    Returns:
        (zoom × H, zoom × W, 3) uint8 RGB.
    """
    size = image.shape[1] * zoom, image.shape[0] * zoom
    picture = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    outlines = [zoom * outline + zoom // 2 for outline in find_outlines(labels)]
    center_lines = np.zeros(picture.shape[:2], np.uint8)
    cv2.polylines(center_lines, outlines, isClosed=True, color=1)
    # Dilate, because the line width for a `thickness` of `polylines` depends on OpenCV's version.
    for rgb, width in ((HALO, 5), (color, 3)):
        picture[cv2.dilate(center_lines, np.ones((width, width), np.uint8)) > 0] = rgb
    return picture


def side_by_side(image: np.ndarray, truth: np.ndarray | None, predicted: np.ndarray) -> np.ndarray:
    """Draws three panels: the image, the ground truth outlines and the predicted outlines.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (L, H, W) integer label layers of the ground truth; None omits this panel.
        predicted: (H, W) integer labels.

    Returns:
        (2 H, 6 W + 16, 3) uint8 RGB; with two panels (2 H, 4 W + 8, 3).
    """
    picture = draw_outlines(image, np.zeros(image.shape[:2], np.uint8), TRUTH)
    gap = np.full((picture.shape[0], 8, 3), 255, np.uint8)
    if truth is not None:
        picture = np.hstack([picture, gap, draw_outlines(image, flatten_labels(truth), TRUTH)])
    return np.hstack([picture, gap, draw_outlines(image, predicted, PREDICTED)])
