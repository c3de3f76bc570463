"""The nuclei of a large image, which stay on disk and are read block by block."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
from scipy.spatial import cKDTree

from dsb2018.inference.tiling.array_cache import ArrayCache
from dsb2018.inference.tiling.blocks import Blocks, blocks_of
from dsb2018.inference.tiling.cache import pack_crops, unpack_crops
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei

INDEX = "index"  # name of the arrays that describe all blocks


def pack_block(nuclei: Nuclei) -> dict[str, np.ndarray]:
    """Returns the nuclei of a block as arrays, see `StoredNuclei`."""
    centers = [
        np.argwhere(crop.mask).mean(axis=0) + np.array([crop.y, crop.x]) for crop in nuclei.crops
    ]
    return {
        **pack_crops(nuclei.crops),
        "scores": nuclei.scores,
        "centers": np.array(centers, np.float64).reshape(-1, 2),
    }


def write_index(size: tuple[int, int], cache: ArrayCache) -> None:
    """Writes the number and the extent of the nuclei of each block, after all were stored."""

    def describe() -> dict[str, np.ndarray]:
        counts, scores, ends, largest = [], [], [], 0
        for number in range(blocks_of(size).count):
            stored = cache.read(block_name(number), "boxes", "scores")
            boxes = stored["boxes"]
            counts.append(len(boxes))
            scores.append(stored["scores"])
            ends.append((boxes[:, :2] + boxes[:, 2:]).max(axis=0, initial=0))
            largest = max(largest, int(boxes[:, 2:].max(initial=0)))
        return {
            "starts": np.cumsum([0, *counts]),
            "ends": np.array(ends).reshape(-1, 2),
            "scores": np.concatenate(scores).astype(np.float32),
            "largest": np.array(largest),
        }

    cache.keep(INDEX, describe)


def block_name(number: int) -> str:
    """Returns the name of the arrays of a block's nuclei."""
    return f"{number:06d}.nuclei"


@dataclass(frozen=True)
class StoredNuclei(Nuclei):
    """Nuclei that are read when they are needed. Those of a block have consecutive labels."""

    @classmethod
    def open(cls, size: tuple[int, int], cache: ArrayCache) -> "StoredNuclei":
        """Opens the nuclei of an image of (H, W) pixels.

        Args:
            size: of the image.
            cache: contains the arrays of `pack_block` for each block, and those of `write_index`.

        Raises:
            ValueError: the index is damaged. Reading nuclei raises the same error.
        """
        crops = StoredCrops(blocks_of(size), cache)
        return cls(size, crops, crops.scores)

    def near(self, y: int, x: int, height: int, width: int) -> list[int]:
        """See `Nuclei.near`."""
        return self.crops.near(y, x, height, width)  # type: ignore[attr-defined]


class _Block(NamedTuple):
    crops: list[Crop]
    corners: np.ndarray  # (N, 4) left, top, right, bottom


class StoredCrops(Sequence[Crop]):
    """The masks of all nuclei. Those of a few blocks are in memory."""

    def __init__(self, blocks: Blocks, cache: ArrayCache):
        """
        Args:
            blocks: of the image.
            cache: see `StoredNuclei.open`.
        """
        self.blocks, self._cache = blocks, cache
        index = cache.read(INDEX)
        self._starts, self._ends = index["starts"], index["ends"]
        self._largest, self.scores = int(index["largest"]), index["scores"]
        windows = [blocks.window(number) for number in range(blocks.count)]
        self._tops, self._lefts = np.array(windows).reshape(-1, 4)[:, :2].T
        self._loaded: OrderedDict[int, _Block] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> Crop: ...

    @overload
    def __getitem__(self, index: slice) -> list[Crop]: ...

    def __getitem__(self, index: int | slice) -> Crop | list[Crop]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._starts, index) - 1
        return self._block(number).crops[index - int(self._starts[number])]

    def __iter__(self) -> Iterator[Crop]:
        for number in range(self.blocks.count):
            yield from self._block(number).crops

    def indices(self, number: int) -> range:
        """Returns the indices of the nuclei of a block."""
        return range(int(self._starts[number]), int(self._starts[number + 1]))

    def near(self, y: int, x: int, height: int, width: int) -> list[int]:
        """Returns the sorted indices of the nuclei whose boxes overlap a window."""

        def are_near(lefts, tops, rights, bottoms) -> np.ndarray:
            in_rows = (tops < y + height) & (y < bottoms)
            return np.flatnonzero(in_rows & (lefts < x + width) & (x < rights))

        found = []
        for number in are_near(self._lefts, self._tops, *self._ends.T).tolist():
            near = are_near(*self._block(number).corners.T)
            found += (near + int(self._starts[number])).tolist()
        return found

    def neighbour_distances(self, number: int) -> np.ndarray:
        """Returns the distance of each nucleus of a block to the center of the nearest other one.

        Returns:
            (N,) pixels; NaN if the image has no other nucleus.
        """
        points = self._centers([number])
        rings = 1
        while True:
            around = list(self.blocks.around(number, rings))
            centers = self._centers(around)
            is_all = len(around) == self.blocks.count
            if len(centers) > 1:
                distances = cKDTree(centers).query(points, k=2)[0].reshape(-1, 2)[:, 1]
            else:
                distances = np.full(len(points), np.nan if is_all else np.inf)
            # A nucleus with a center in this distance may have its corner in another block.
            reach = rings * self.blocks.edge - self._largest
            if is_all or not len(points) or distances.max() < reach:
                return distances
            rings *= 2

    def _centers(self, numbers: Sequence[int]) -> np.ndarray:
        centers = [self._cache.read(block_name(n), "centers")["centers"] for n in numbers]
        return np.concatenate(centers)

    def _block(self, number: int) -> _Block:
        if number not in self._loaded:
            packed = self._cache.read(block_name(number), "boxes", "bits")
            boxes = packed["boxes"]
            corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
            self._loaded[number] = _Block(unpack_crops(packed), corners)
            # Pictures and label images are written in stripes of the image's width.
            while len(self._loaded) > 2 * self.blocks.columns + 8:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(number)
        return self._loaded[number]
