"""What the tiles of a large image have found, on disk, so that an interrupted run goes on there."""

import logging
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dsb2018.files import delete_folder, make_empty_folder, replacing, write_atomically
from dsb2018.inference.stitching import Found
from dsb2018.masks import Crop

logger = logging.getLogger(__name__)
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError, MemoryError, IndexError, TypeError),
)


class TileStore:
    """A folder with a file for each tile that is done."""

    def __init__(self, folder: Path, made_from: str):
        """
        Args:
            folder: it is emptied, if what is in it was made from something else.
            made_from: says what the tiles are of, and by which model.
        """
        self._folder = folder
        mark = folder / "made_from"
        if not mark.is_file() or mark.read_bytes() != made_from.encode():
            make_empty_folder(folder)
            write_atomically(mark, made_from)

    def keep(self, number: int, find: Callable[[], list[Found]]) -> None:
        """Stores `find()` as what tile `number` has found, unless that is stored already."""
        path = self._path(number)
        if not path.exists():
            found = find()
            with replacing(path) as file:
                np.savez(file, **_pack(found))

    def read(self, number: int, find: Callable[[], list[Found]]) -> list[Found]:
        """What was stored of a tile; what `find()` gives where that cannot be read any more."""
        try:
            return read_tile(self._path(number))
        except ValueError as error:
            logger.warning("%s, computed again", error)
            return find()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"


def delete_stores(folder: Path) -> None:
    """Deletes all stores in a folder, and the folder itself where nothing else is in it."""
    if folder.is_dir():
        for store in folder.iterdir():
            delete_folder(store)
        folder.rmdir()


def _pack(found: list[Found]) -> dict[str, np.ndarray]:
    boxes = np.array([each.crop.box for each in found], np.int64).reshape(-1, 4)
    masks = [each.crop.mask.ravel() for each in found]
    return {
        "boxes": boxes,
        "bits": np.packbits(np.concatenate(masks) if masks else np.zeros(0, bool)),
        "scores": np.array([each.score for each in found], np.float64),
        "places": np.array([(each.distance, each.cut) for each in found], np.int64).reshape(-1, 2),
    }


def read_tile(path: Path) -> list[Found]:
    """What `TileStore` wrote of a tile.

    Raises:
        ValueError: missing or damaged.
    """
    try:
        with np.load(path) as packed:
            return _unpack(packed)
    except UNREADABLE as error:
        raise ValueError(f"{path}: damaged ({error})") from error


def _unpack(packed: Mapping[str, np.ndarray]) -> list[Found]:
    boxes, scores, places = packed["boxes"].tolist(), packed["scores"], packed["places"]
    bits = np.unpackbits(packed["bits"]).astype(bool)
    found, begin = [], 0
    rows = zip(boxes, scores.tolist(), places.tolist(), strict=True)
    for (x, y, w, h), score, (distance, cut) in rows:
        mask = bits[begin : begin + w * h].reshape(h, w)
        begin += w * h
        found.append(Found(Crop(x, y, mask), score, distance, bool(cut)))
    return found
