"""Segmentation of large images tile by tile, and the merging of the nuclei of tiles.

A nucleus belongs to the tile whose core contains the center of its bounding box. If the nucleus is
not larger than the margin, this tile contains it completely.

Tiles may segment the same nucleus slightly differently. Two tiles, or none, may then own it. The
overlap of the pixels decides which nuclei are duplicates. If a nucleus is so large that each tile
contains only a part of it, the parts are merged.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dsb2018.inference.tiling.blocks import Window, blocks_of
from dsb2018.inference.tiling.tiles import Tile, Tiling, WindowReader, divide
from dsb2018.structures.grid_index import GridIndex
from dsb2018.structures.masks import Crop, common_pixels, shared_part, union, union_size
from dsb2018.structures.nuclei import Nuclei

CELL = 64  # edge of the grid cells of the spatial index, pixels
# Largest edge of a nucleus that is merged from parts, pixels. Without this limit, the background of
# an inverted slide would become one nucleus.
LARGEST = 1024

# Segments images of one size; returns the nuclei of each image.
Finder = Callable[[Sequence[np.ndarray]], list[Nuclei]]


class TileNucleus(NamedTuple):
    """A nucleus in the result of one tile.

    Args:
        crop: mask and position in the whole image.
        score: confidence, 0 to 1.
        distance: distance of the center of the bounding box from the tile's core, pixels; 0: the
            center is in the core, so the tile owns the nucleus.
        cut: whether the nucleus touches an edge of the window that is not an edge of the image. A
            part of the nucleus may then be missing.
    """

    crop: Crop
    score: float
    distance: int
    cut: bool


def find_in_tiles(
    read: WindowReader, size: tuple[int, int], find: Finder, tiling: Tiling
) -> Nuclei:
    """Segments a large image tile by tile.

    Args:
        read: reads a window of the image.
        size: (H, W) of the image, pixels.
        find: segments a window.
        tiling: size and overlap of the tiles.
    """
    tiles = divide(*size, tiling)
    return stitch(size, (find_in_tile(tile, read, size, find) for tile in tiles))


def find_in_tile(
    tile: Tile, read: WindowReader, size: tuple[int, int], find: Finder
) -> list[TileNucleus]:
    """Segments one tile, see `find_in_tiles`; returns its nuclei in image coordinates."""
    return place_in_image(tile, find([read(*tile.window)])[0], size)


def place_in_image(tile: Tile, nuclei: Nuclei, size: tuple[int, int]) -> list[TileNucleus]:
    """Returns the nuclei of a tile in image coordinates.

    Args:
        tile: the tile.
        nuclei: the nuclei of its window.
        size: (H, W) of the image, pixels.
    """
    top, left, height, width = tile.window
    tile_nuclei = []
    for crop, score in zip(nuclei.crops, nuclei.scores.tolist(), strict=True):
        cut = (
            (crop.y == 0 and top > 0)
            or (crop.x == 0 and left > 0)
            or (crop.bottom == height and top + height < size[0])
            or (crop.right == width and left + width < size[1])
        )
        crop = crop.moved(left, top)
        h, w = crop.mask.shape
        center = crop.y + h // 2, crop.x + w // 2
        tile_nuclei.append(TileNucleus(crop, score, _distance(center, tile.core), cut))
    return tile_nuclei


def _distance(point: tuple[int, int], core: tuple[int, int, int, int]) -> int:
    """Returns the Chebyshev distance from a pixel to the nearest pixel of a core."""
    return max(
        max(core[axis] - point[axis], point[axis] - (core[axis] + core[axis + 2] - 1), 0)
        for axis in (0, 1)
    )


def stitch(size: tuple[int, int], tiles: Iterable[list[TileNucleus]]) -> Nuclei:
    """Merges the nuclei of all tiles.

    Args:
        size: (H, W) of the image, pixels.
        tiles: the nuclei of each tile, in the order of `divide`.
    """
    merged, outside_core = _MergedNuclei(), []
    for tile_nuclei in tiles:
        for nucleus in tile_nuclei:
            if nucleus.distance:
                outside_core.append(nucleus)  # added after the nuclei of all cores
            else:
                merged.add(nucleus)
    for nucleus in outside_core:
        merged.add(nucleus)
    return merged.nuclei(size)


def stitch_around(
    size: tuple[int, int],
    number: int,
    tiles: Sequence[Tile],
    read: Callable[[int], list[TileNucleus]],
) -> Nuclei:
    """Merges the nuclei of the tiles in and around a block.

    Nuclei near the block are the same as if all tiles of the image were merged, since a nucleus
    that is merged from parts has at most `LARGEST` pixels in each direction.

    Args:
        size: (H, W) of the image, pixels.
        number: of the block.
        tiles: all tiles of the image.
        read: returns the nuclei of a tile, by its number.

    Returns:
        The nuclei of the block and of its surroundings.
    """
    window = blocks_of(size).window(number, LARGEST)
    return stitch(
        size, (read(index) for index, tile in enumerate(tiles) if _overlap(tile.core, window))
    )


def in_block(nuclei: Nuclei, number: int) -> Nuclei:
    """Returns the nuclei that belong to a block."""
    blocks = blocks_of(nuclei.size)
    top, left, height, width = blocks.window(number)
    kept = [
        index
        for index, crop in enumerate(nuclei.crops)
        if top <= crop.y < top + height and left <= crop.x < left + width
    ]
    return Nuclei(nuclei.size, [nuclei.crops[index] for index in kept], nuclei.scores[kept])


def _overlap(a: Window, b: Window) -> bool:
    return all(
        a[axis] < b[axis] + b[axis + 2] and b[axis] < a[axis] + a[axis + 2] for axis in (0, 1)
    )


class _MergedNuclei:
    """Nuclei of several tiles, without overlaps, with a grid as spatial index."""

    def __init__(self):
        self._all: list[TileNucleus] = []
        self._index = GridIndex(CELL)

    def add(self, new: TileNucleus) -> None:
        """Adds a nucleus of a tile, unless it is a duplicate.

        Of two duplicates, a complete nucleus replaces a cut one. Two cut nuclei are merged.
        """
        overlaps = {
            index: common_pixels(self._all[index].crop, new.crop) for index in self._near(new.crop)
        }
        overlaps = {index: pixels for index, pixels in overlaps.items() if pixels}
        if overlaps:
            index = max(overlaps, key=overlaps.__getitem__)
            old = self._all[index]
            is_same = 2 * overlaps[index] > min(new.crop.area, old.crop.area)
            both_cut = old.cut and new.cut
            if is_same and not (both_cut and max(union_size(old.crop, new.crop)) > LARGEST):
                if old.cut:
                    crop = union(old.crop, new.crop) if new.cut else new.crop
                    self._replace(index, self._without_others(crop, index), new.cut)
                return
            visible = self._without_others(new.crop, None)
            if visible is None or 2 * visible.area < new.crop.area:
                return
            new = new._replace(crop=visible)
        # The tile that owns this nucleus contains more of it, but did not predict it. Keep it only
        # near the core, where each of two tiles may consider the other the owner.
        if new.distance and (new.cut or new.distance > max(new.crop.mask.shape)):
            return
        self._all.append(new)
        self._index.add(len(self._all) - 1, new.crop)

    def nuclei(self, size: tuple[int, int]) -> Nuclei:
        """Returns all nuclei: block by block, and from top to bottom in each block."""
        blocks = blocks_of(size)
        ordered = sorted(self._all, key=lambda n: blocks.order(n.crop.y, n.crop.x))
        scores = np.array([nucleus.score for nucleus in ordered], np.float32)
        return Nuclei(size, [nucleus.crop for nucleus in ordered], scores)

    def _replace(self, index: int, crop: Crop | None, cut: bool) -> None:
        if crop is None:
            return
        self._all[index] = self._all[index]._replace(crop=crop, cut=cut)
        # The index also keeps the cells of the previous mask, where `common_pixels` is then 0.
        self._index.add(index, crop)

    def _near(self, crop: Crop) -> set[int]:
        return self._index.near(crop.y, crop.x, crop.height, crop.width)

    def _without_others(self, crop: Crop, own_index: int | None) -> Crop | None:
        """Removes the pixels of other nuclei; returns None if no pixels are left."""
        mask = crop.mask.copy()
        for index in self._near(crop):
            other = self._all[index].crop
            if index != own_index and (shared := shared_part(crop, other)):
                in_crop, in_other = shared
                mask[in_crop] &= ~other.mask[in_other]
        return crop.keep(mask)
