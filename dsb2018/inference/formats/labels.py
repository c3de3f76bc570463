"""Label images as TIFF: 0 is background, k the k-th nucleus. Opens in Fiji, napari and QuPath."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tifffile

from dsb2018.files import replacing
from dsb2018.inference.nuclei import Nuclei
from dsb2018.inference.pictures import Picture

TILE = 512  # edge of a tile of large images, pixels


def write_labels(path: Path, nuclei: Nuclei, picture: Picture) -> None:
    """Writes the label image of an image: 16 bit, 32 where there are more than 65535 nuclei; tiled
    where it is large, so that viewers need not read all of it."""
    dtype = _dtype(len(nuclei))
    height, width = nuclei.size
    if max(height, width) <= 2 * TILE:
        _write(path, picture, nuclei.labels.astype(dtype))
        return
    tiles = _tiles(nuclei, dtype)
    _write(path, picture, tiles, shape=nuclei.size, dtype=dtype, tile=(TILE, TILE))


def write_volume(
    path: Path, slices: Iterable[tuple[Nuclei, np.ndarray]], count: int, picture: Picture
) -> None:
    """Writes the label image of a stack.

    Args:
        path: of the file.
        slices: nuclei of each slice, and their numbers in the stack.
        count: number of 3-D nuclei.
        picture: the stack.
    """
    dtype = _dtype(count)
    options = {"shape": (picture.depth, *picture.size), "metadata": {"axes": "ZYX"}, "dtype": dtype}
    tables = ((n, np.concatenate([[0], numbers]).astype(dtype)) for n, numbers in slices)
    if max(picture.size) <= 2 * TILE:
        _write(path, picture, (table[nuclei.labels] for nuclei, table in tables), **options)
        return
    tiles = (table[tile] for nuclei, table in tables for tile in _tiles(nuclei, np.int32))
    _write(path, picture, tiles, tile=(TILE, TILE), **options)


def _dtype(count: int) -> np.dtype:
    return np.dtype(np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)


def _write(path: Path, picture: Picture, data, **options) -> None:
    if picture.pixel_size:
        y, x = picture.pixel_size
        options |= {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
    huge = np.prod(picture.size) * (picture.depth or 1) * 4 > 2**31
    with replacing(path) as file, tifffile.TiffWriter(file, bigtiff=bool(huge)) as writer:
        writer.write(data, compression="zlib", photometric="minisblack", **options)


def _tiles(nuclei: Nuclei, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Row by row; what lies beyond the image is background."""
    height, width = nuclei.size
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            yield nuclei.window(y, x, TILE, TILE).astype(dtype)
