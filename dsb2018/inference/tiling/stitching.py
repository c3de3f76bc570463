"""Images of any size, tile by tile: each nucleus is found once, and whole.

An image is divided into cores, and each is looked at with a margin around it. A nucleus belongs to
the tile whose core holds the middle of its box, and there it is seen whole, if it is no larger than
the margin. What two tiles both take for theirs, or neither, as they see it a little differently, is
settled by its pixels; a nucleus so large that each tile sees a part of it only is put together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dsb2018.errors import UsageError
from dsb2018.structures.masks import Crop, cells, common_pixels, shared_part, union, union_size
from dsb2018.structures.nuclei import Nuclei

# Windows begin at multiples of this: a network that makes its maps smaller by so much sees another
# image where everything lies a pixel further.
STRIDE = 32
CELL = 64  # edge of the cells by which neighbours are looked up, pixels
LARGEST = 4096  # edge of what is put together of parts; else an inverted slide were one nucleus

# (y, x, height, width) → (height, width, 3) uint8 of the image
WindowReader = Callable[[int, int, int, int], np.ndarray]
# images of one size → the nuclei of each
Finder = Callable[[Sequence[np.ndarray]], list[Nuclei]]


@dataclass(frozen=True)
class Tiling:
    """How an image is divided.

    Args:
        edge: height and width of what the network sees at once, pixels.
        margin: how far a tile looks beyond its core: more than nuclei are wide, pixels.
        whole: images up to this height and width are not divided.

    Raises:
        UsageError: no core would be left.
    """

    edge: int = 1024
    margin: int = 96
    whole: int = 1400

    def __post_init__(self):
        if self.margin < 0 or self.core < STRIDE:
            most = (self.edge // STRIDE - 1) // 2 * STRIDE
            raise UsageError(
                f"tiles of {self.edge} pixels with an overlap of {self.margin}, expected 0 to "
                f"{max(most, 0)} pixels of overlap, and tiles of {STRIDE} or more"
            )

    @property
    def core(self) -> int:
        """Most pixels along an edge that belong to one tile."""
        margin = -(-self.margin // STRIDE) * STRIDE
        return (self.edge - 2 * margin) // STRIDE * STRIDE


class Tile(NamedTuple):
    """A core, and the window that is looked at: y, x, height, width, pixels."""

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]


class TileNucleus(NamedTuple):
    """A nucleus as a tile saw it.

    Args:
        crop: in the whole image.
        score: 0 to 1.
        distance: of its middle from the tile's core, pixels; 0: inside, so it is the tile's own.
        cut: whether it goes on beyond the tile's window.
    """

    crop: Crop
    score: float
    distance: int
    cut: bool


def divide(height: int, width: int, tiling: Tiling) -> list[Tile]:
    """The tiles of an image, row by row; cores of one size, as far as they can be."""
    rows, columns = (_divide(length, tiling) for length in (height, width))
    return [
        Tile((y, x, h, w), (wy, wx, wh, ww)) for y, h, wy, wh in rows for x, w, wx, ww in columns
    ]


def _divide(length: int, tiling: Tiling) -> list[tuple[int, int, int, int]]:
    """Begin and length of core and of window along one axis."""
    count = -(-length // tiling.core)
    size = -(-length // count // STRIDE) * STRIDE
    parts = []
    for begin in range(0, length, size):
        end = min(begin + size, length)
        first = max(0, begin - tiling.margin) // STRIDE * STRIDE
        last = min(length, end + tiling.margin)
        parts.append((begin, end - begin, first, last - first))
    return parts


def find_in_tiles(
    read: WindowReader, size: tuple[int, int], find: Finder, tiling: Tiling
) -> Nuclei:
    """The nuclei of a large image."""
    tiles = divide(*size, tiling)
    return stitch(size, (find_in_tile(tile, read, size, find) for tile in tiles))


def find_in_tile(
    tile: Tile, read: WindowReader, size: tuple[int, int], find: Finder
) -> list[TileNucleus]:
    """What a tile sees, at the place that it has in the image."""
    top, left, height, width = tile.window
    nuclei = find([read(*tile.window)])[0]
    seen = []
    for crop, score in zip(nuclei.crops, nuclei.scores.tolist(), strict=True):
        cut = (
            (crop.y == 0 and top > 0)
            or (crop.x == 0 and left > 0)
            or (crop.bottom == height and top + height < size[0])
            or (crop.right == width and left + width < size[1])
        )
        moved = crop.moved(left, top)
        h, w = crop.mask.shape
        middle = moved.y + h // 2, moved.x + w // 2
        seen.append(TileNucleus(moved, score, _distance(middle, tile.core), cut))
    return seen


def _distance(place: tuple[int, int], core: tuple[int, int, int, int]) -> int:
    """From a pixel to the nearest one of a core, along the longer axis."""
    return max(
        max(core[axis] - place[axis], place[axis] - (core[axis] + core[axis + 2] - 1), 0)
        for axis in (0, 1)
    )


def stitch(size: tuple[int, int], tiles: Iterable[list[TileNucleus]]) -> Nuclei:
    """Puts together what tiles saw.

    Args:
        size: (H, W) of the image.
        tiles: what each saw, in the order of `divide`.
    """
    canvas, spare = _Canvas(), []
    for tile_nuclei in tiles:
        for nucleus in tile_nuclei:
            if nucleus.distance:
                spare.append(nucleus)  # added after the nuclei of all cores
            else:
                canvas.add(nucleus)
    for nucleus in spare:
        canvas.add(nucleus)
    return canvas.nuclei(size)


class _Canvas:
    """Nuclei that share no pixel, looked up by place."""

    def __init__(self):
        self._all: list[TileNucleus] = []
        self._cells: dict[tuple[int, int], list[int]] = defaultdict(list)

    def add(self, new: TileNucleus) -> None:
        """Adds a nucleus, unless it is there already: then one that was seen whole counts, and of
        two parts both."""
        common = {
            index: common_pixels(self._all[index].crop, new.crop) for index in self._near(new.crop)
        }
        common = {index: pixels for index, pixels in common.items() if pixels}
        if common:
            index = max(common, key=common.__getitem__)
            old = self._all[index]
            is_same = 2 * common[index] > min(new.crop.area, old.crop.area)
            parts = old.cut and new.cut
            if is_same and not (parts and max(union_size(old.crop, new.crop)) > LARGEST):
                if old.cut:
                    crop = union(old.crop, new.crop) if new.cut else new.crop
                    self._replace(index, self._without_others(crop, index), new.cut)
                return
            visible = self._without_others(new.crop, None)
            if visible is None or 2 * visible.area < new.crop.area:
                return
            new = new._replace(crop=visible)
        # Its owner, who saw more of it, did not take it for one; but near a core's edge two tiles
        # may each hold the other to be the owner.
        if new.distance and (new.cut or new.distance > max(new.crop.mask.shape)):
            return
        self._all.append(new)
        self._enter(len(self._all) - 1)

    def nuclei(self, size: tuple[int, int]) -> Nuclei:
        """All of them, from top to bottom."""
        order = sorted(self._all, key=lambda nucleus: (nucleus.crop.y, nucleus.crop.x))
        scores = np.array([nucleus.score for nucleus in order], np.float32)
        return Nuclei(size, [nucleus.crop for nucleus in order], scores)

    def _replace(self, index: int, crop: Crop | None, cut: bool) -> None:
        if crop is None:
            return
        self._all[index] = self._all[index]._replace(crop=crop, cut=cut)
        self._enter(index)  # what it has left is found there too, and has no common pixels

    def _enter(self, index: int) -> None:
        for cell in self._cells_of(self._all[index].crop):
            self._cells[cell].append(index)

    @staticmethod
    def _cells_of(crop: Crop) -> Iterator[tuple[int, int]]:
        return cells(crop.y, crop.x, *crop.mask.shape, CELL)

    def _near(self, crop: Crop) -> set[int]:
        return {index for cell in self._cells_of(crop) for index in self._cells.get(cell, ())}

    def _without_others(self, crop: Crop, itself: int | None) -> Crop | None:
        """The pixels that no other nucleus has."""
        mask = crop.mask.copy()
        for index in self._near(crop):
            other = self._all[index].crop
            if index != itself and (shared := shared_part(crop, other)):
                mine, theirs = shared
                mask[mine] &= ~other.mask[theirs]
        return crop.keep(mask)
