"""PNG, JPEG, BMP and what else OpenCV reads, decoded whole."""

import warnings
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.io.files import read_file
from dsb2018.io.images import MOST_PIXELS, PNG_SIGNATURE, png_header

RASTER = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".pnm")


def open_raster(name: str, path: Path) -> list[MicroscopyImage]:
    """Opens a file.

    Raises:
        ValueError: empty, damaged, of an unknown kind, or of too many pixels.
    """
    data = read_file(path)
    if not data:
        raise ValueError("an empty file")
    _check_size(data)
    if data.startswith(PNG_SIGNATURE):
        png_header(data)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("damaged, or of an unknown kind")
    copies = 1
    if pixels.ndim == 3:
        pixels = pixels[..., 2::-1] if pixels.shape[2] >= 3 else pixels[..., 0]  # BGR(A) to RGB
        if pixels.ndim == 3 and not np.ptp(pixels, axis=2).any():  # grey, saved as colour
            pixels, copies = np.ascontiguousarray(pixels[..., 0]), 3
    return [MicroscopyImage(name, path, pixels, "YXS"[: pixels.ndim], copies=copies)]


def _check_size(data: bytes) -> None:
    """
    Raises:
        ValueError: too many pixels to decode them all.
    """
    try:
        with warnings.catch_warnings(action="ignore"), PillowImage.open(BytesIO(data)) as header:
            count = int(np.prod(header.size))  # no pixels are read
    except PillowImage.DecompressionBombError:
        count = MOST_PIXELS + 1
    if count > MOST_PIXELS:
        raise ValueError(
            f"more than {MOST_PIXELS // 10**6} million pixels, which are not read from this kind "
            "of file; save it as tiled TIFF or OME-Zarr"
        )
