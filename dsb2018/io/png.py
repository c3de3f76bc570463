"""Checks and writes PNG files."""

import struct

import cv2
import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEFLATE_RATIO = 1032  # maximum compression ratio of deflate
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples per pixel, by PNG's color type
# Limit for images that are decoded as a whole: a small file can claim any number of pixels.
MOST_PIXELS = 1 << 27


def png_header(data: bytes) -> tuple[int, int]:
    """Checks the sizes in a PNG file before it is decoded, and returns its height and width.

    Raises:
        ValueError: the file is not a PNG file, a chunk exceeds its end, or it claims more than
            `MOST_PIXELS` or more pixels than its bytes can encode.
    """
    if not data.startswith(PNG_SIGNATURE):
        raise ValueError("not a PNG file")
    if len(data) < 33:
        raise ValueError("truncated PNG file")
    if data[12:16] != b"IHDR":
        raise ValueError("damaged PNG file: no header")
    width, height, bits, color = struct.unpack_from(">IIBB", data, 16)
    if not 0 < height * width <= MOST_PIXELS:
        most = f"expected at most {MOST_PIXELS // 10**6} million"
        raise ValueError(f"a PNG file of {height} × {width} pixels, {most}")
    if height * width * bits * SAMPLES.get(color, 4) / 8 > DEFLATE_RATIO * len(data):
        raise ValueError(f"damaged PNG file: {height} × {width} pixels in {len(data)} bytes")
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(data):  # OpenCV allocates the size that a chunk claims
        position += 12 + struct.unpack_from(">I", data, position)[0]
    if position > len(data):
        raise ValueError("truncated PNG file")
    return height, width


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes an image, (H, W) or (H, W, 3) RGB, uint8 or uint16, as PNG."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()
