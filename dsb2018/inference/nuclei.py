"""The nuclei of one image: what inference gives and every writer takes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from dsb2018.masks import Crop, cells

CELL = 256  # edge of the cells by which nuclei are looked up, pixels


@dataclass(frozen=True)
class Nuclei:
    """Nuclei that share no pixel. The label of the k-th is k + 1; background is 0.

    They are kept as tight crops, so that a slide of a million nuclei takes no image-sized array.

    Args:
        size: (H, W) of the image, pixels.
        crops: place and mask of each.
        scores: (N,) float32, how sure the model is, 0 to 1.
    """

    size: tuple[int, int]
    crops: Sequence[Crop]
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.crops)

    @classmethod
    def from_labels(cls, labels: np.ndarray, scores: np.ndarray) -> "Nuclei":
        """
        Args:
            labels: (H, W) integers, 0 is background; every number from 1 to N has pixels.
            scores: (N,) of each.
        """
        crops = [
            Crop(x.start, y.start, labels[y, x] == label)
            for label, (y, x) in enumerate(ndimage.find_objects(labels), start=1)
        ]
        return cls(labels.shape, crops, np.asarray(scores, np.float32))

    @property
    def labels(self) -> np.ndarray:
        """(H, W) int32 label image."""
        return self._paint(range(len(self)), 0, 0, *self.size)

    def window(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """(height, width) int32: a part of the label image."""
        return self._paint(self.near(y, x, height, width), y, x, height, width)

    def near(self, y: int, x: int, height: int, width: int) -> list[int]:
        """Indices, rising, of the nuclei that may have pixels in a window, and of few others."""
        here = cells(y, x, height, width, CELL)
        return sorted({index for cell in here for index in self._by_cell.get(cell, ())})

    @property
    def areas(self) -> np.ndarray:
        """(N,) int64 pixels."""
        return np.array([crop.area for crop in self.crops], np.int64)

    @cached_property
    def _by_cell(self) -> dict[tuple[int, int], list[int]]:
        """What makes the time for a window independent of the number of nuclei outside of it."""
        found = defaultdict(list)
        for index, crop in enumerate(self.crops):
            for cell in cells(crop.y, crop.x, *crop.mask.shape, CELL):
                found[cell].append(index)
        return dict(found)

    def _paint(self, which: Iterable[int], y: int, x: int, height: int, width: int) -> np.ndarray:
        labels = np.zeros((height, width), np.int32)
        for index in which:
            crop = self.crops[index]
            top, left = max(crop.y, y), max(crop.x, x)
            bottom = min(crop.y + crop.mask.shape[0], y + height)
            right = min(crop.x + crop.mask.shape[1], x + width)
            if top < bottom and left < right:
                mask = crop.mask[top - crop.y : bottom - crop.y, left - crop.x : right - crop.x]
                labels[top - y : bottom - y, left - x : right - x][mask] = index + 1
        return labels
