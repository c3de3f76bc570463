"""Encodes images as PNG."""

import cv2
import numpy as np

from dsb2018.structures.contrast import GreyRange


def to_rgb(window: np.ndarray, grey_range: GreyRange) -> np.ndarray:
    """Converts (h, w, 1 or 3) pixels of any dtype to (h, w, 3) uint8, with stretched contrast."""
    stretched = grey_range.apply(window)
    return np.ascontiguousarray(np.broadcast_to(stretched, (*stretched.shape[:2], 3)))


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes an image, (H, W) or (H, W, 3) RGB, uint8 or uint16."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()
