"""Reader of PNG, JPEG, BMP and other formats that OpenCV supports. Files are decoded as a whole."""

import warnings
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.io.files import read_file
from dsb2018.io.png import MOST_PIXELS, PNG_SIGNATURE, png_header

RASTER = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".pnm")


def open_raster(name: str, path: Path) -> list[MicroscopyImage]:
    """Reads an image file.

    Raises:
        ValueError: the file is empty, damaged or in an unknown format, or has too many pixels.
    """
    data = read_file(path)
    if not data:
        raise ValueError("the file is empty")
    _check_size(data)
    if data.startswith(PNG_SIGNATURE):
        png_header(data)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("damaged, or in an unknown format")
    copies = 1
    if pixels.ndim == 3 and pixels.shape[2] < 3:
        pixels = pixels[..., 0]  # without alpha
    if pixels.ndim == 3:
        blue, green, red = cv2.split(pixels)[:3]
        if np.array_equal(blue, green) and np.array_equal(green, red):  # gray, saved as color
            pixels, copies = blue, 3
        else:
            pixels = cv2.merge([red, green, blue])
    return [MicroscopyImage(name, path, pixels, "YXS"[: pixels.ndim], copies=copies)]


def _check_size(data: bytes) -> None:
    """Checks the number of pixels before they are decoded.

    Raises:
        ValueError: the image has too many pixels.
    """
    try:
        with warnings.catch_warnings(action="ignore"), PillowImage.open(BytesIO(data)) as header:
            count = int(np.prod(header.size))  # reads only the header
    except UnidentifiedImageError as error:
        raise ValueError("damaged, or in an unknown format") from error
    except PillowImage.DecompressionBombError:
        count = MOST_PIXELS + 1
    if count > MOST_PIXELS:
        raise ValueError(
            f"more than {MOST_PIXELS // 10**6} million pixels in a format that is decoded as a "
            "whole; save the image as tiled TIFF or OME-Zarr"
        )
