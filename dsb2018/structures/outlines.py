"""Masks from outlines: polygons and run-length encodings of COCO, and rings of other programs."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask
from skimage.draw import polygon as polygon_pixels

from dsb2018.structures.masks import RLE, Crop, crop_mask, decode


def decode_segmentation(segmentation: RLE | list, height: int, width: int) -> Crop | None:
    """Decodes COCO's `segmentation` as pycocotools does.

    Args:
        segmentation: a list of polygons [x0, y0, x1, y1, …] in pixels, whose union is the nucleus,
            or an RLE, compressed or not.
        height, width: size of the image, pixels.

    Returns:
        The nucleus; None if it has no pixels.

    Raises:
        ValueError: `segmentation` is neither, a polygon has fewer than three points or points far
            outside of the image, or an RLE is damaged or has another size.
    """
    if isinstance(segmentation, list):
        return _decode_polygons(segmentation, height, width)
    if not isinstance(segmentation, dict):
        raise ValueError(f"a {type(segmentation).__name__}, expected polygons or an RLE")
    size = segmentation.get("size")
    if not isinstance(size, (list, tuple)) or list(size) != [
        height,
        width,
    ]:  # before memory is allocated
        raise ValueError(f"an RLE of size {size}, expected {[height, width]}")
    if isinstance(segmentation.get("counts"), list):
        segmentation = _compress(segmentation["counts"], height, width)
    return crop_mask(decode(segmentation))


def _decode_polygons(polygons: list, height: int, width: int) -> Crop | None:
    if not polygons:
        raise ValueError("a segmentation without polygons, expected at least one")
    for points in polygons:
        numbers = _to_floats(points)
        if numbers.ndim != 1 or len(numbers) % 2 or len(numbers) < 6:
            count = f"{len(numbers) / 2:g} points" if numbers.ndim == 1 else "nested lists"
            raise ValueError(f"a polygon of {count}, expected [x0, y0, …] of three or more points")
        _check_points(numbers.reshape(-1, 2), height, width)
    rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return crop_mask(decode(rle))


def _compress(counts: list, height: int, width: int) -> RLE:
    numbers = _to_floats(counts)
    is_whole = (numbers == np.floor(numbers)).all() and (numbers >= 0).all()
    if numbers.ndim != 1 or not is_whole or numbers.sum() != height * width:
        raise ValueError(f"an RLE whose runs are not the {height * width} pixels of the image")
    size = [height, width]
    return coco_mask.frPyObjects({"size": size, "counts": counts}, height, width)


def _to_floats(values: object) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError("a segmentation with values that are not numbers") from error


def _check_points(points: np.ndarray, height: int, width: int) -> None:
    """Raises `ValueError` for points that are not finite or far outside of the image."""
    reach = max(height, width)
    size = np.array([width, height])
    if not ((points >= -reach) & (points <= size + reach)).all():  # False for NaN
        raise ValueError(f"an outline with points outside of the image of {height} × {width}")


def fill_rings(rings: Sequence[np.ndarray], height: int, width: int) -> Crop | None:
    """Fills closed outlines by the even-odd rule: a ring inside another one is a hole.

    A pixel is inside if its center is. The outlines of `predict.py` therefore give the same pixels
    again, whichever program has saved them.

    Args:
        rings: (N, 2) x, y in pixels; the upper left corner of the image is (0, 0).
        height, width: size of the image, pixels. Parts outside of it are cut off.

    Returns:
        The nucleus; None if it contains no pixel center of the image.

    Raises:
        ValueError: a ring has fewer than three points, or points far outside of the image.
    """
    for ring in rings:
        if ring.ndim != 2 or ring.shape[1:] != (2,) or len(np.unique(ring, axis=0)) < 3:
            raise ValueError(f"an outline of {len(ring)} points, expected three or more")
        _check_points(ring, height, width)
    points = np.concatenate(rings)
    left, top = np.clip(np.floor(points.min(axis=0)).astype(int), 0, [width, height])
    right, bottom = np.clip(np.ceil(points.max(axis=0)).astype(int), 0, [width, height])
    if right <= left or bottom <= top:
        return None
    mask = np.zeros((bottom - top, right - left), bool)
    for ring in rings:
        rows, columns = polygon_pixels(
            ring[:, 1] - top - 0.5, ring[:, 0] - left - 0.5, shape=mask.shape
        )
        mask[rows, columns] ^= True
    crop = crop_mask(mask)
    return crop and crop.moved(int(left), int(top))
