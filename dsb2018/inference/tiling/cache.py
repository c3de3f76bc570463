"""A cache on disk of the nuclei of finished tiles."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dsb2018.inference.tiling.array_cache import UNREADABLE, ArrayCache
from dsb2018.inference.tiling.stitching import TileNucleus
from dsb2018.inference.tiling.tiles import Tile
from dsb2018.structures.masks import Crop

logger = logging.getLogger(__name__)


class TileCache:
    """A folder with one file for each finished tile."""

    def __init__(self, folder: Path, fingerprint: str):
        """
        Args:
            folder, fingerprint: see `ArrayCache`.
        """
        self._cache = ArrayCache(folder, fingerprint)

    def keep(self, number: int, find: Callable[[], list[TileNucleus]]) -> None:
        """Stores the nuclei of a tile.

        Args:
            number: index of the tile.
            find: computes the nuclei; not called if they are already stored.
        """
        self._cache.keep(f"{number:06d}", lambda: _pack(find()))

    def read(self, number: int, find: Callable[[], list[TileNucleus]]) -> list[TileNucleus]:
        """Reads the nuclei of a tile.

        Args:
            number: index of the tile.
            find: computes the nuclei again if their file is missing or damaged.
        """
        try:
            return read_tile(self._cache.path(f"{number:06d}"))
        except ValueError as error:
            logger.warning("%s; the tile is computed again", error)
            return find()


class CachedTiles:
    """The tiles of an image, whose nuclei are found once and then read from the cache."""

    def __init__(
        self,
        tiles: Sequence[Tile],
        find: Callable[[Tile], list[TileNucleus]],
        cache: TileCache,
    ):
        """
        Args:
            tiles: see `divide`.
            find: finds the nuclei of a tile.
            cache: keeps them.
        """
        self.tiles, self._find, self._cache = tiles, find, cache

    def __len__(self) -> int:
        return len(self.tiles)

    def keep(self, number: int) -> None:
        """Finds and stores the nuclei of a tile if they are not stored yet."""
        self._cache.keep(number, partial(self._find, self.tiles[number]))

    def read(self, number: int) -> list[TileNucleus]:
        """Returns the nuclei of a tile."""
        return self._cache.read(number, partial(self._find, self.tiles[number]))


def pack_crops(crops: Sequence[Crop]) -> dict[str, np.ndarray]:
    """Returns masks as arrays, a bit for each pixel; see `unpack_crops`."""
    masks = [crop.mask.ravel() for crop in crops]
    return {
        "boxes": np.array([crop.box for crop in crops], np.int64).reshape(-1, 4),
        "bits": np.packbits(np.concatenate(masks) if masks else np.zeros(0, bool)),
    }


def unpack_crops(packed: Mapping[str, np.ndarray]) -> list[Crop]:
    """Returns the masks that `pack_crops` converted.

    Raises:
        Exception: any error of NumPy if the arrays are damaged.
    """
    bits, crops, begin = np.unpackbits(packed["bits"]).astype(bool), [], 0
    for x, y, w, h in packed["boxes"].tolist():
        crops.append(Crop(x, y, bits[begin : begin + w * h].reshape(h, w)))
        begin += w * h
    return crops


def _pack(nuclei: list[TileNucleus]) -> dict[str, np.ndarray]:
    places = [(nucleus.distance, nucleus.cut) for nucleus in nuclei]
    return {
        **pack_crops([nucleus.crop for nucleus in nuclei]),
        "scores": np.array([nucleus.score for nucleus in nuclei], np.float64),
        "places": np.array(places, np.int64).reshape(-1, 2),
    }


def read_tile(path: Path) -> list[TileNucleus]:
    """Reads the nuclei of a tile from a file that `TileCache` wrote.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        with np.load(path) as packed:
            rows = zip(
                unpack_crops(packed),
                packed["scores"].tolist(),
                packed["places"].tolist(),
                strict=True,
            )
            return [
                TileNucleus(crop, score, distance, bool(cut))
                for crop, score, (distance, cut) in rows
            ]
    except UNREADABLE as error:
        raise ValueError(f"{path}: damaged ({error})") from error
