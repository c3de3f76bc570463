"""Nuclei as masks: tight crops, COCO run-length codes (RLE), and stacks of label images.

Shapes: H, W height and width of the image; h, w of a nucleus's tight box; L label layers; N nuclei.
Array order is (row, column); boxes are (x, y, width, height) in pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

# One RLE in COCO's compressed form: {"size": [H, W], "counts": str}, column-major.
RLE = dict


MOST_LAYERS = 100  # of label images


class Crop(NamedTuple):
    """One nucleus: the tight box's left and top, and the mask inside it."""

    x: int
    y: int
    mask: np.ndarray  # (h, w) bool, no empty row or column at its edges

    @property
    def box(self) -> list[int]:
        """[x, y, width, height] in pixels, as COCO's `bbox`."""
        height, width = self.mask.shape
        return [self.x, self.y, width, height]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))


def crop_mask(mask: np.ndarray) -> Crop | None:
    """Cuts the tight box of the non-zero pixels out of a (H, W) bool or uint8 mask.

    Returns None where the mask is empty.
    """
    pixels = mask.view(np.uint8) if mask.dtype == bool else mask
    x, y, width, height = cv2.boundingRect(pixels)
    if width == 0:
        return None
    return Crop(x, y, pixels[y : y + height, x : x + width] != 0)


def shared_part(a: Crop, b: Crop) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """The part that two boxes share, as slices of each mask."""
    top, left = max(a.y, b.y), max(a.x, b.x)
    bottom = min(a.y + a.mask.shape[0], b.y + b.mask.shape[0])
    right = min(a.x + a.mask.shape[1], b.x + b.mask.shape[1])
    if top >= bottom or left >= right:
        return None
    in_a, in_b = ((slice(top - c.y, bottom - c.y), slice(left - c.x, right - c.x)) for c in (a, b))
    return in_a, in_b


def common_pixels(a: Crop, b: Crop) -> int:
    """Number of pixels that both have."""
    shared = shared_part(a, b)
    return int(np.count_nonzero(a.mask[shared[0]] & b.mask[shared[1]])) if shared else 0


def cells(y: int, x: int, height: int, width: int, edge: int) -> Iterator[tuple[int, int]]:
    """Row and column of each cell of a grid of `edge` pixels that a box has pixels in: what lies in
    none of them need not be looked at."""
    for row in range(y // edge, (y + height - 1) // edge + 1):
        for column in range(x // edge, (x + width - 1) // edge + 1):
            yield row, column


def encode_crop(crop: Crop, height: int, width: int) -> RLE:
    """The RLE of a nucleus in an image of (height, width), byte for byte as pycocotools makes it.

    Only the pixels of the box are looked at, so the time does not grow with the image.
    """
    h, w = crop.mask.shape
    columns = np.zeros((w, h + 2), bool)
    columns[:, 1:-1] = crop.mask.T
    # Where a column changes: in turn the start of a run and the first pixel after it.
    edges = np.flatnonzero(columns[:, 1:] != columns[:, :-1])
    column, row = np.divmod(edges, h + 1)
    edges = (crop.x + column) * height + crop.y + row
    if h == height:  # a run that fills a column to its end goes on in the next one
        joined = np.flatnonzero(edges[1:-1:2] == edges[2::2])
        edges = np.delete(edges, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    bounds = np.empty(len(edges) + 2, np.int64)
    bounds[0], bounds[1:-1], bounds[-1] = 0, edges, height * width
    counts = bounds[1:] - bounds[:-1]
    if counts[-1] == 0:
        counts = counts[:-1]
    size = [height, width]
    code = coco_mask.frPyObjects({"size": size, "counts": counts.tolist()}, height, width)
    return {"size": size, "counts": code["counts"].decode("ascii")}


def encode(mask: np.ndarray) -> RLE:
    """The RLE of a (H, W) bool or uint8 mask; an empty mask gives one run of zeros."""
    crop = crop_mask(mask)
    if crop is None:
        crop = Crop(0, 0, np.zeros((1, 1), bool))
    return encode_crop(crop, *mask.shape)


def decode(rle: RLE) -> np.ndarray:
    """The (H, W) bool mask of an RLE.

    Raises:
        ValueError: run lengths that do not fit the size.
    """
    try:
        mask, area = coco_mask.decode(rle), int(coco_mask.area(rle))
    except (ValueError, TypeError, KeyError, MemoryError) as error:
        raise ValueError(f"a run-length code that cannot be decoded ({error})") from error
    # Of a code that ends early, pycocotools leaves the other pixels as they were in memory.
    if mask.max(initial=0) > 1 or np.count_nonzero(mask) != area:
        raise ValueError("a run-length code that does not fit the size of its image")
    return mask.view(bool)


def stack_labels(crops: Sequence[Crop], height: int, width: int) -> tuple[np.ndarray, int]:
    """Paints nuclei into as few label images as keep every pixel of every nucleus.

    Args:
        crops: the nuclei; nucleus k of the sequence is painted with the value k + 1.
        height, width: of the image, in pixels.

    Returns:
        (L, height, width) uint8 or uint16, 0 is background, L ≥ 1; and the number of nuclei
        that went to a layer above the first, since they share a pixel with one in it.

    Raises:
        ValueError: more than 65535 nuclei, or so many that overlap each other that they would
            need more than `MOST_LAYERS`.
    """
    if len(crops) > np.iinfo(np.uint16).max:
        raise ValueError(f"{len(crops)} nuclei in one image, expected at most 65535")
    dtype = np.uint8 if len(crops) <= np.iinfo(np.uint8).max else np.uint16
    layers = [np.zeros((height, width), dtype)]
    overlapping = 0
    for label, crop in enumerate(crops, start=1):
        h, w = crop.mask.shape
        box = np.s_[crop.y : crop.y + h, crop.x : crop.x + w]
        free = (d for d, layer in enumerate(layers) if not layer[box][crop.mask].any())
        depth = next(free, len(layers))
        if depth == len(layers):
            if depth == MOST_LAYERS:
                raise ValueError(f"more than {MOST_LAYERS} nuclei lie on top of each other")
            layers.append(np.zeros((height, width), dtype))
        layers[depth][box][crop.mask] = label
        overlapping += depth > 0
    return np.stack(layers), overlapping


def stack_rles(rles: Iterable[RLE], height: int, width: int) -> np.ndarray:
    """Like `stack_labels`, from RLEs; an empty RLE takes a label and paints nothing.

    Raises:
        ValueError: see `stack_labels` and `decode`, or an RLE of another size.
    """
    nothing = Crop(0, 0, np.zeros((0, 0), bool))
    crops = []
    for rle in rles:
        if list(rle.get("size", ())) != [height, width]:  # looked at before memory is taken
            raise ValueError(f"an RLE of size {rle.get('size')}, expected {[height, width]}")
        crops.append(crop_mask(decode(rle)) or nothing)
    return stack_labels(crops, height, width)[0]


def flatten_labels(layers: np.ndarray) -> np.ndarray:
    """One (H, W) label image of (L, H, W) layers; where nuclei overlap, the upper layer wins."""
    flat = layers[0].copy()
    for layer in layers[1:]:
        flat[layer > 0] = layer[layer > 0]
    return flat


def distance_to_background(mask: np.ndarray) -> np.ndarray:
    """The Euclidean distance of each pixel to the nearest background pixel.

    The result has the same bits in every thread and process, see `opencv_without_ipp`.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) float32 in pixels, correctly rounded; 0 in the background.
    """
    with opencv_without_ipp():
        return cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


@contextmanager
def opencv_without_ipp() -> Iterator[None]:
    """Runs OpenCV's own code in this thread, without Intel's IPP library.

    With one thread, or an image below 128 × 128 pixels, OpenCV 4 and 5 leave the distance transform
    to IPP, whose last bit depends on the address of the array in memory: two runs of the same
    program then differ. OpenCV's own code is exact, and no slower.
    """
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)
