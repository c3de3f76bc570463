"""Pictures: outlines drawn on the image, a crop of each nucleus, and the Data Science Bowl's own
form, a folder an image with one mask file a nucleus."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile

from dsb2018.draw import PREDICTED, draw_outlines
from dsb2018.files import make_empty_folder, write_atomically
from dsb2018.inference.contrast import GreyRange
from dsb2018.inference.measuring import blocks
from dsb2018.inference.nuclei import Nuclei
from dsb2018.inference.pictures import Picture

ENLARGED = 1024  # images up to this edge are drawn twice as large, since outlines hide little then
OVERLAY = 4096  # longest edge of an overlay, pixels; larger images are shrunk
MOST_DSB = 1 << 24  # pixels of an image in the Data Science Bowl's form
MARGIN = 4  # pixels around a nucleus in its crop


def write_overlay(path: Path, nuclei: Nuclei, picture: Picture, grey_range: GreyRange) -> None:
    """The image with the outline of each nucleus, PNG."""
    height, width = picture.size
    shrink = -(-max(height, width) // OVERLAY)
    rows = []
    step = max(1, 1024 // shrink) * shrink
    for top in range(0, height, step):
        bottom = min(top + step, height)
        window = to_rgb(picture.read(top, 0, bottom - top, width)[::shrink, ::shrink], grey_range)
        labels = nuclei.window(top, 0, bottom - top, width)[::shrink, ::shrink]
        zoom = 2 if max(height, width) <= ENLARGED else 1
        rows.append(draw_outlines(window, labels, PREDICTED, zoom))
    write_atomically(path, encode_png(np.concatenate(rows)))


def write_crops(folder: Path, nuclei: Nuclei, picture: Picture, labels: Sequence[int]) -> None:
    """A picture of each nucleus, `<label>.png`, in the file's own grey values where PNG can hold
    them, else `.tif`."""
    make_empty_folder(folder)
    for block in blocks(nuclei, picture, MARGIN):
        for number in block.wanted:
            crop = nuclei.crops[number - 1]
            height, width = crop.mask.shape
            y, x = crop.y - block.top, crop.x - block.left
            rows = slice(max(0, y - MARGIN), y + height + MARGIN)
            columns = slice(max(0, x - MARGIN), x + width + MARGIN)
            write_pixels(folder / f"{labels[number - 1]:05d}", block.pixels[rows, columns])


def write_dsb(
    folder: Path, name: str, nuclei: Nuclei, shown: Picture, grey_range: GreyRange, mark: Path
) -> None:
    """`images/<name>.png`, the image as the model saw it, in 8 bits, which is what it is trained
    on, and `masks/<name>_<label>.png`, 255 in the nucleus. What was written stands in `mark`.

    Raises:
        ValueError: so large that a mask of this size for each nucleus makes no sense; or somebody
            has changed what was written before.
    """
    if np.prod(nuclei.size) > MOST_DSB:
        raise ValueError(
            f"{nuclei.size} pixels, at most {MOST_DSB / 1e6:.0f} million are written in the form "
            "of the Data Science Bowl, which has a mask of this size for each nucleus"
        )
    if folder.exists() and (not mark.exists() or json.loads(mark.read_text()) != _state(folder)):
        raise ValueError(
            f"{folder}: changed by somebody since it was written; move it elsewhere, else the "
            "corrections would be lost"
        )
    for kind in ("images", "masks"):
        make_empty_folder(folder / kind)
    image = to_rgb(shown.read(0, 0, *shown.size), grey_range)
    (folder / "images" / f"{name}.png").write_bytes(encode_png(image))
    for label, crop in enumerate(nuclei.crops, start=1):
        pixels = np.zeros(nuclei.size, np.uint8)
        height, width = crop.mask.shape
        pixels[crop.y : crop.y + height, crop.x : crop.x + width] = crop.mask * np.uint8(255)
        (folder / "masks" / f"{name}_{label:05d}.png").write_bytes(encode_png(pixels))
    write_atomically(mark, json.dumps(_state(folder)))


def _state(folder: Path) -> dict[str, list[int]]:
    """Size and time of each file."""
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    states = {str(each.relative_to(folder)): each.stat() for each in files}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}


def to_rgb(window: np.ndarray, grey_range: GreyRange) -> np.ndarray:
    """(h, w, 1 or 3) pixels → (h, w, 3) uint8."""
    grey = grey_range.apply(window)
    return np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:2], 3)))


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """(h, w, C) pixels of any dtype under a path without ending: PNG, or what cannot be PNG as
    TIFF, channel by channel."""
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if pixels.dtype in (np.uint8, np.uint16) and (pixels.ndim == 2 or pixels.shape[2] == 3):
        path.with_name(path.name + ".png").write_bytes(encode_png(pixels))
        return
    planes = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    path = path.with_name(path.name + ".tif")
    tifffile.imwrite(path, planes, photometric="minisblack", compression="zlib")


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) RGB, uint8 or uint16."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()
