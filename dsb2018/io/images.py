"""Reads image files that are decoded as a whole."""

import os
import struct

import cv2
import numpy as np

from dsb2018.io.files import read_file

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNEL_ORDERS = ("BGR", "RGB")
DEFLATE_RATIO = 1032  # maximum compression ratio of deflate
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples per pixel, by PNG's color type
# Limit for images that are decoded as a whole: a small file can claim any number of pixels.
MOST_PIXELS = 1 << 27


def read_image(path: str | os.PathLike, channel_order: str = "RGB") -> np.ndarray:
    """Reads an image file as three channels of 8 bits. An alpha channel is dropped.

    Args:
        path: file in any format that OpenCV reads. 16-bit images are converted to 8 bits, and gray
            images to three equal channels.
        channel_order: "RGB" or "BGR".

    Returns:
        (H, W, 3) uint8.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file cannot be read, or unknown channel order.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f"channel order {channel_order!r}, expected one of {CHANNEL_ORDERS}")
    content = read_file(path)
    if content.startswith(PNG_SIGNATURE):
        try:
            png_header(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    data = np.frombuffer(content, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error:  # for example, too many pixels for OpenCV
        image = None
    if image is None:
        raise ValueError(f"{path}: not an image that OpenCV can read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if channel_order == "RGB" else image


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
