"""PNG files of images and of parts of images."""

import cv2
import numpy as np

from dsb2018.structures.contrast import GreyRange


def to_rgb(window: np.ndarray, grey_range: GreyRange) -> np.ndarray:
    """(h, w, 1 or 3) pixels → (h, w, 3) uint8."""
    grey = grey_range.apply(window)
    return np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:2], 3)))


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) RGB, uint8 or uint16."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()
