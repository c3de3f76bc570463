"""Pictures of images with nuclei drawn on them."""

import cv2
import numpy as np

from dsb2018.structures.labels import flatten_labels

# Blue-green and vermilion of Okabe and Ito's palette, safe for colour-blind eyes; RGB.
TRUTH, PREDICTED = (0, 158, 115), (213, 94, 0)


def draw_outlines(
    image: np.ndarray, labels: np.ndarray, color: tuple[int, int, int], zoom: int = 2
) -> np.ndarray:
    """Draws the outline of each nucleus.

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
    large = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    kernel = np.ones((3, 3), np.uint8)
    # Where the least and the greatest label around a pixel differ, there is an edge.
    edge = (cv2.erode(large, kernel) != large) & (large > 0)
    picture[edge] = color
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
