"""Pictures of images with nuclei drawn on them."""

import cv2
import numpy as np
from scipy import ndimage

from dsb2018.structures.labels import flatten_labels

# Sky blue and yellow of Okabe and Ito's palette, RGB: colour-blind eyes tell them apart too. Both
# are bright, for the black of fluorescence; the dark halo sets them off from stained tissue.
TRUTH, PREDICTED, HALO = (86, 180, 233), (240, 228, 66), (0, 0, 0)
PADDING = 16  # pixels; shrunk to a thumbnail, still more than half the width of a line


def find_outlines(labels: np.ndarray) -> list[np.ndarray]:
    """Finds the edge of each label, around holes too.

    Args:
        labels: (H, W) integer, 0 is background.

    Returns:
        Closed polygons, (N, 1, 2) int32 as OpenCV takes them: x, y of the outermost pixels. Where
        a nucleus is cut by the border of the image, its polygon goes on outside of the image.
    """
    # The border of a picture, or of a part of one, is no edge of a nucleus: continue it outwards.
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
        zoom: output pixels per input pixel, so that outlines hide little.

    Returns:
        (zoom × H, zoom × W, 3) uint8 RGB.
    """
    size = image.shape[1] * zoom, image.shape[0] * zoom
    picture = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    outlines = [zoom * outline + zoom // 2 for outline in find_outlines(labels)]
    middles = np.zeros(picture.shape[:2], np.uint8)
    cv2.polylines(middles, outlines, isClosed=True, color=1)
    # Not the thickness of `polylines`, which means other widths in other versions of OpenCV.
    for rgb, width in ((HALO, 5), (color, 3)):
        picture[cv2.dilate(middles, np.ones((width, width), np.uint8)) > 0] = rgb
    return picture


def side_by_side(image: np.ndarray, truth: np.ndarray | None, predicted: np.ndarray) -> np.ndarray:
    """The image, the image with the true nuclei, and the image with the predicted ones.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (L, H, W) integer label layers; None leaves its panel out.
        predicted: (H, W) integer labels.

    Returns:
        (2 H, 6 W + 16, 3) uint8 RGB; with two panels (2 H, 4 W + 8, 3).
    """
    picture = draw_outlines(image, np.zeros(image.shape[:2], np.uint8), TRUTH)
    gap = np.full((picture.shape[0], 8, 3), 255, np.uint8)
    if truth is not None:
        picture = np.hstack([picture, gap, draw_outlines(image, flatten_labels(truth), TRUTH)])
    return np.hstack([picture, gap, draw_outlines(image, predicted, PREDICTED)])
