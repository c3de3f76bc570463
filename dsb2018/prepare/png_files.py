"""Checks and reads the PNG files of DSB data."""

import struct
import zlib

import cv2
import numpy as np

from dsb2018.io.images import PNG_SIGNATURE, png_header
from dsb2018.prepare.errors import BadInput
from dsb2018.prepare.source import Entry
from dsb2018.structures.masks import Crop, crop_mask

AGAIN = "copy or download it again"


def header_size(data: bytes, path: str) -> tuple[int, int]:
    """Height and width in the header of a PNG file.

    Raises:
        BadInput: see `png_header`.
    """
    try:
        return png_header(data)
    except ValueError as error:
        remedy = "save it as PNG" if str(error).startswith("not a") else AGAIN
        raise BadInput(path, str(error), remedy) from error


def png_size(data: bytes, path: str) -> tuple[int, int]:
    """Height and width of a PNG file, after a look at the check sum of each of its parts.

    Finds truncated and damaged files without decoding their pixels, 40 times as fast.

    Raises:
        BadInput: not a PNG file, truncated, damaged, or with more pixels than are decoded.
    """
    size = header_size(data, path)
    view, start = memoryview(data), len(PNG_SIGNATURE)
    while True:
        if start + 12 > len(data):
            raise BadInput(path, "truncated PNG file", AGAIN)
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            raise BadInput(path, "truncated PNG file", AGAIN)
        kind = data[start + 4 : start + 8]
        if zlib.crc32(view[start + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise BadInput(path, "damaged PNG file: a check sum is wrong", AGAIN)
        if kind == b"IEND":
            return size
        start = end + 4


def the_image(entry: Entry, root: str) -> str:
    """The name of an entry's one image.

    Raises:
        BadInput: no folder of images, no image, or several.
    """
    if len(entry.images) == 1:
        return entry.images[0]
    found = f"{len(entry.images)} images" if entry.images else "no images folder, or no PNG in it"
    raise BadInput(f"{root}/{entry.image_id}/images", found, "expected exactly one PNG")


def read_mask(data: bytes, path: str, height: int, width: int) -> Crop:
    """The nucleus of one mask file: grey, two-valued, with as many pixels as the image.

    Raises:
        BadInput: unreadable, truncated, in colour or with alpha, of another size than
            (height, width), empty, or with more values than background and nucleus.
    """
    size = header_size(data, path)  # looked at before memory is taken
    if size != (height, width):
        found, expected = (f"{h}×{w}" for h, w in (size, (height, width)))
        raise BadInput(path, f"a mask of {found} pixels", f"its image has {expected}")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or b"IEND" not in data[-12:]:
        png_size(data, path)  # says what is wrong with it, where it can
        raise BadInput(path, "unreadable PNG file", AGAIN)
    if pixels.ndim != 2:
        kind = {2: "grey with alpha", 3: "colour", 4: "colour with alpha"}.get(pixels.shape[2], "")
        raise BadInput(path, f"a mask with {pixels.shape[2]} channels, {kind}", "save it as grey")
    crop = crop_mask(pixels if pixels.dtype == np.uint8 else (pixels > 0).view(np.uint8))
    if crop is None:
        raise EmptyMask(path, "an empty mask", "delete it")
    h, w = crop.mask.shape
    box = pixels[crop.y : crop.y + h, crop.x : crop.x + w]
    if np.count_nonzero(box == box.max()) != np.count_nonzero(crop.mask):
        values = np.unique(box).size
        raise BadInput(path, f"a mask of {values} values", "expected 0 and one other value")
    return crop


class EmptyMask(BadInput):
    """A mask without a nucleus: it can be left out and the image's truth stays complete."""
