"""The scale at which a model processes an image.

A zoom is the number of pixels that the model processes per pixel of the image, along each axis.
"""

import cv2
import numpy as np

STEP = 32  # pixels; zooms are STEP / n, so that n pixels of an image become exactly STEP pixels
SMALLEST, LARGEST = 0.25, 4.0  # zooms


def zoom_for(diameter: float, working_diameter: float) -> float:
    """Returns the zoom that brings nuclei of a diameter closest to the working diameter.

    Args:
        diameter: of the nuclei in the image, pixels, above 0.
        working_diameter: of the nuclei that the model is made for, pixels.

    Returns:
        A zoom from `SMALLEST` to `LARGEST`, `STEP` divided by a whole number.
    """
    zoom = min(max(working_diameter / diameter, SMALLEST), LARGEST)
    return STEP / round(STEP / zoom)


def pixels_per_step(zoom: float) -> int:
    """Returns the number of pixels of the image that become `STEP` pixels; see `zoom_for`."""
    return round(STEP / zoom)


def limit_zoom(zoom: float, size: tuple[int, int], max_size: int) -> float:
    """Limits the enlargement of an image.

    Args:
        zoom: wanted zoom.
        size: (H, W) of the image, pixels.
        max_size: maximum length of the longest edge of an enlarged image, pixels. An image whose
            longest edge already exceeds it is not enlarged.
    """
    return min(zoom, max(1.0, max_size / max(size)))


def resize_by(image: np.ndarray, zoom: float) -> np.ndarray:
    """Resizes a (H, W, C) image, area-based if it shrinks, else bilinear.

    Returns:
        (round(H × zoom), round(W × zoom), C), at least one pixel along each axis.
    """
    height, width = (max(1, round(edge * zoom)) for edge in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=interpolation)
    return resized.reshape(height, width, *image.shape[2:])
