"""A cache on disk of the nuclei of finished tiles, so that an interrupted run can be resumed."""

import logging
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dsb2018.inference.tiling.stitching import Tile, TileNucleus
from dsb2018.io.files import delete_folder, make_empty_folder, replacing, write_atomically
from dsb2018.structures.masks import Crop

logger = logging.getLogger(__name__)
# Errors that NumPy raises for damaged files.
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError, MemoryError, IndexError, TypeError),
)


class TileCache:
    """A folder with one file for each finished tile."""

    def __init__(self, folder: Path, fingerprint: str):
        """
        Args:
            folder: created if it does not exist, and emptied if its fingerprint differs.
            fingerprint: hash of the image file, the model and the options.
        """
        self._folder = folder
        mark = folder / "fingerprint"
        if not mark.is_file() or mark.read_bytes() != fingerprint.encode():
            make_empty_folder(folder)
            write_atomically(mark, fingerprint)

    def keep(self, number: int, find: Callable[[], list[TileNucleus]]) -> None:
        """Stores the nuclei of a tile.

        Args:
            number: index of the tile.
            find: computes the nuclei; not called if they are already stored.
        """
        path = self._path(number)
        if not path.exists():
            nuclei = find()
            with replacing(path) as file:
                np.savez(file, **_pack(nuclei))

    def read(self, number: int, find: Callable[[], list[TileNucleus]]) -> list[TileNucleus]:
        """Reads the nuclei of a tile.

        Args:
            number: index of the tile.
            find: computes the nuclei again if their file is missing or damaged.
        """
        try:
            return read_tile(self._path(number))
        except ValueError as error:
            logger.warning("%s; the tile is computed again", error)
            return find()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"


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
        self._tiles, self._find, self._cache = tiles, find, cache

    def __len__(self) -> int:
        return len(self._tiles)

    def keep(self, number: int) -> None:
        """Finds and stores the nuclei of a tile if they are not stored yet."""
        self._cache.keep(number, partial(self._find, self._tiles[number]))

    def read(self, number: int) -> list[TileNucleus]:
        """Returns the nuclei of a tile."""
        return self._cache.read(number, partial(self._find, self._tiles[number]))


def delete_caches(folder: Path) -> None:
    """Deletes a folder and all caches in it, if the folder exists."""
    if folder.is_dir():
        for cache in folder.iterdir():
            delete_folder(cache)
        folder.rmdir()


def _pack(nuclei: list[TileNucleus]) -> dict[str, np.ndarray]:
    boxes = np.array([nucleus.crop.box for nucleus in nuclei], np.int64).reshape(-1, 4)
    masks = [nucleus.crop.mask.ravel() for nucleus in nuclei]
    return {
        "boxes": boxes,
        "bits": np.packbits(np.concatenate(masks) if masks else np.zeros(0, bool)),
        "scores": np.array([nucleus.score for nucleus in nuclei], np.float64),
        "places": np.array(
            [(nucleus.distance, nucleus.cut) for nucleus in nuclei], np.int64
        ).reshape(-1, 2),
    }


def read_tile(path: Path) -> list[TileNucleus]:
    """Reads the nuclei of a tile from a file that `TileCache` wrote.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        with np.load(path) as packed:
            return _unpack(packed)
    except UNREADABLE as error:
        raise ValueError(f"{path}: damaged ({error})") from error


def _unpack(packed: Mapping[str, np.ndarray]) -> list[TileNucleus]:
    boxes, scores, places = packed["boxes"].tolist(), packed["scores"], packed["places"]
    bits = np.unpackbits(packed["bits"]).astype(bool)
    nuclei, begin = [], 0
    rows = zip(boxes, scores.tolist(), places.tolist(), strict=True)
    for (x, y, w, h), score, (distance, cut) in rows:
        mask = bits[begin : begin + w * h].reshape(h, w)
        begin += w * h
        nuclei.append(TileNucleus(Crop(x, y, mask), score, distance, bool(cut)))
    return nuclei
