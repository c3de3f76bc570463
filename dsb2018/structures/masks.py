"""The mask of a nucleus as a tight crop, a full-size mask, or a COCO run-length encoding (RLE).

Shapes: H, W are the height and width of the image, h, w those of the bounding box of a nucleus, and
N is the number of nuclei. Arrays are indexed (row, column). Boxes are (x, y, width, height) in
pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

# One RLE in COCO's compressed form: {"size": [H, W], "counts": str}, column-major.
RLE = dict


class Crop(NamedTuple):
    """The mask of one nucleus inside its bounding box.

    Args:
        x, y: left and top of the bounding box, pixels.
        mask: (h, w) bool. Its first and last rows and columns contain pixels of the nucleus.
    """

    x: int
    y: int
    mask: np.ndarray

    @property
    def box(self) -> list[int]:
        """[x, y, width, height] in pixels, as in COCO's `bbox`."""
        height, width = self.mask.shape
        return [self.x, self.y, width, height]

    @property
    def bottom(self) -> int:
        """The first row below the box."""
        return self.y + self.mask.shape[0]

    @property
    def right(self) -> int:
        """The first column to the right of the box."""
        return self.x + self.mask.shape[1]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the box, as an index into an array of the image's size."""
        return slice(self.y, self.bottom), slice(self.x, self.right)

    @property
    def height(self) -> int:
        """The height of the box in pixels."""
        return self.mask.shape[0]

    @property
    def width(self) -> int:
        """The width of the box in pixels."""
        return self.mask.shape[1]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    def moved(self, x: int, y: int) -> "Crop":
        """Returns the mask moved by `x` pixels to the right and `y` pixels down."""
        return Crop(self.x + x, self.y + y, self.mask)

    def keep(self, mask: np.ndarray) -> "Crop | None":
        """Returns the nucleus with another (h, w) bool mask, cropped again; None if it is empty."""
        crop = crop_mask(mask)
        return crop and crop.moved(self.x, self.y)


EMPTY = Crop(0, 0, np.zeros((0, 0), bool))


def crop_mask(mask: np.ndarray) -> Crop | None:
    """Crops a (H, W) bool or uint8 mask to the bounding box of its nonzero pixels.

    Returns:
        The crop; None if the mask is empty.
    """
    pixels = mask.view(np.uint8) if mask.dtype == bool else mask
    x, y, width, height = cv2.boundingRect(pixels)
    if width == 0:
        return None
    return Crop(x, y, pixels[y : y + height, x : x + width] != 0)


def shared_part(a: Crop, b: Crop) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Returns the intersection of two boxes as an index into each mask; None if there is none."""
    top, left = max(a.y, b.y), max(a.x, b.x)
    bottom, right = min(a.bottom, b.bottom), min(a.right, b.right)
    if top >= bottom or left >= right:
        return None
    in_a, in_b = (
        (slice(top - crop.y, bottom - crop.y), slice(left - crop.x, right - crop.x))
        for crop in (a, b)
    )
    return in_a, in_b


def common_pixels(a: Crop, b: Crop) -> int:
    """Returns the number of pixels in the intersection of two nuclei."""
    shared = shared_part(a, b)
    return int(np.count_nonzero(a.mask[shared[0]] & b.mask[shared[1]])) if shared else 0


def union_size(a: Crop, b: Crop) -> tuple[int, int]:
    """Returns the height and width of the bounding box of two nuclei."""
    return max(a.bottom, b.bottom) - min(a.y, b.y), max(a.right, b.right) - min(a.x, b.x)


def union(a: Crop, b: Crop) -> Crop:
    """Joins two nuclei into one."""
    left, top = min(a.x, b.x), min(a.y, b.y)
    mask = np.zeros(union_size(a, b), bool)
    for crop in (a, b):
        mask[crop.moved(-left, -top).window] |= crop.mask
    return Crop(left, top, mask)


def paint_masks(crops: Sequence[Crop], height: int, width: int) -> np.ndarray:
    """Paints a full-size mask for each nucleus: (N, height, width) bool."""
    masks = np.zeros((len(crops), height, width), bool)
    for mask, crop in zip(masks, crops, strict=True):
        mask[crop.window] = crop.mask
    return masks


def encode_crop(crop: Crop, height: int, width: int) -> RLE:
    """Encodes a nucleus in an image of (height, width) as RLE, byte for byte as pycocotools does.

    Only the pixels of the box are processed, so the run time does not depend on the image size.
    """
    h, w = crop.mask.shape
    columns = np.zeros((w, h + 2), bool)
    columns[:, 1:-1] = crop.mask.T
    # Positions where a column changes: alternately the start of a run and the first pixel after it.
    edges = np.flatnonzero(columns[:, 1:] != columns[:, :-1])
    column, row = np.divmod(edges, h + 1)
    edges = (crop.x + column) * height + crop.y + row
    if h == height:  # a run that reaches the end of a column continues in the next one
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
    """Encodes a (H, W) bool or uint8 mask as RLE. The RLE of an empty mask is one run of zeros."""
    crop = crop_mask(mask)
    if crop is None:
        crop = Crop(0, 0, np.zeros((1, 1), bool))
    return encode_crop(crop, *mask.shape)


def decode(rle: RLE) -> np.ndarray:
    """Decodes an RLE to a (H, W) bool mask.

    Raises:
        ValueError: the RLE is damaged, or its run lengths do not fit its size.
    """
    try:
        mask, area = coco_mask.decode(rle), int(coco_mask.area(rle))
    except (ValueError, TypeError, KeyError, MemoryError) as error:
        raise ValueError(f"the RLE of a mask cannot be decoded ({error})") from error
    # If the RLE ends early, pycocotools does not initialize the remaining pixels.
    if mask.max(initial=0) > 1 or np.count_nonzero(mask) != area:
        raise ValueError("the RLE of a mask does not fit the size of its image")
    return mask.view(bool)
