"""Encodes images as PNG."""

import cv2
import numpy as np


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes an image, (H, W) or (H, W, 3) RGB, uint8 or uint16."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()
