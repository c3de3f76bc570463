"""Sample data: images that this package draws."""

from typing import Any

import cv2
import numpy as np

from dsb2018.prepare.sample import draw_image

SEED = 7
DEPTH = 9  # slices of the stack


def fluorescence() -> list[tuple[np.ndarray, dict[str, Any], str]]:
    """Returns a (256, 256) uint8 image of nuclei with a fluorescent stain, as a layer."""
    image, _ = draw_image("fluorescence", np.random.default_rng(SEED))
    return [(image[..., 0], {"name": "fluorescence"}, "image")]


def histology() -> list[tuple[np.ndarray, dict[str, Any], str]]:
    """Returns a (256, 256, 3) uint8 image of a stained section, as a layer."""
    image, _ = draw_image("histology", np.random.default_rng(SEED))
    return [(np.ascontiguousarray(image[..., 2::-1]), {"name": "section", "rgb": True}, "image")]


def stack() -> list[tuple[np.ndarray, dict[str, Any], str]]:
    """Returns a (9, 256, 256) uint8 stack as a layer: nuclei that grow dim above and below."""
    sharp = fluorescence()[0][0].astype(np.float32)
    planes = []
    for z in range(DEPTH):
        distance = abs(z - DEPTH // 2) / (DEPTH // 2)
        blurred = cv2.GaussianBlur(sharp, (0, 0), 0.3 + 2.5 * distance)
        planes.append(blurred * (1 - 0.6 * distance))
    pixels = np.stack(planes).clip(0, 255).astype(np.uint8)
    options = {"name": "stack", "scale": (2.0, 0.5, 0.5), "units": ("um", "um", "um")}
    return [(pixels, options, "image")]
