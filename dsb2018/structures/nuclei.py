"""The nuclei of one image, from the prediction of a model to measurement and export."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dsb2018.structures.grid_index import GridIndex
from dsb2018.structures.labels import crop_labels
from dsb2018.structures.masks import Crop

CELL = 256  # edge of the grid cells that index the nuclei, pixels


@dataclass(frozen=True)
class Detections:
    """All nuclei that a model predicts for an image. They may overlap.

    The masks are stored as crops, so that a slide with a million nuclei needs no array of the
    image's size.

    Args:
        size: (H, W) of the image, pixels.
        crops: masks of the N nuclei.
        scores: (N,) float32 confidence, 0 to 1.
        boxes: (N, 4) float32 x0, y0, x1, y1 in pixels, if the model predicts boxes; None: the
            bounding boxes of the masks.
    """

    size: tuple[int, int]
    crops: Sequence[Crop]
    scores: np.ndarray
    boxes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def areas(self) -> np.ndarray:
        """Area of each nucleus, (N,) int64 pixels."""
        return np.array([crop.area for crop in self.crops], np.int64)

    def corners(self) -> np.ndarray:
        """Returns the boxes, (N, 4) float32 x0, y0, x1, y1 in pixels."""
        if self.boxes is not None:
            return self.boxes
        corners = [(crop.x, crop.y, crop.right, crop.bottom) for crop in self.crops]
        return np.array(corners, np.float32).reshape(-1, 4)

    def without_overlaps(self, score_thresh: float) -> "Nuclei":
        """Removes overlaps: shared pixels are assigned to the nucleus with the highest score.

        A nucleus that loses more than half of its pixels is a duplicate and is removed.

        Args:
            score_thresh: nuclei with a lower score are removed, 0 to 1.

        Returns:
            Nuclei in descending order of their scores.
        """
        occupied = np.zeros(self.size, bool)
        crops, scores = [], []
        for index in np.argsort(-self.scores, kind="stable"):
            crop = self.crops[index]
            if self.scores[index] < score_thresh:
                break
            visible = crop.mask & ~occupied[crop.window]
            if crop.area and 2 * np.count_nonzero(visible) >= crop.area:
                occupied[crop.window] |= visible
                crops.append(crop.keep(visible))
                scores.append(self.scores[index])
        return Nuclei(self.size, crops, np.array(scores, np.float32))


@dataclass(frozen=True)
class Nuclei(Detections):
    """Nuclei that do not overlap. The nucleus at index k has the label k + 1; background is 0."""

    @classmethod
    def from_labels(cls, labels: np.ndarray, scores: np.ndarray | None = None) -> "Nuclei":
        """Creates the nuclei of a label image.

        Args:
            labels: (H, W) integers, 0 is background.
            scores: (N,) scores in ascending order of the labels; None: all 1.
        """
        crops = [crop for _, crop in crop_labels(labels)]
        scores = np.ones(len(crops)) if scores is None else np.asarray(scores)
        return cls(labels.shape, crops, scores.astype(np.float32))

    @property
    def labels(self) -> np.ndarray:
        """The label image, (H, W) int32."""
        return self._paint(range(len(self)), 0, 0, *self.size)

    def window(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """Returns a window of the label image, (height, width) int32.

        Pixels outside of the image are background.
        """
        return self._paint(self.near(y, x, height, width), y, x, height, width)

    def at_border(self, crop: Crop) -> bool:
        """Returns whether a nucleus touches the border of the image."""
        height, width = self.size
        return crop.x == 0 or crop.y == 0 or crop.bottom == height or crop.right == width

    def near(self, y: int, x: int, height: int, width: int) -> list[int]:
        """Returns the sorted indices of the nuclei that may have pixels in a window."""
        return sorted(self._index.near(y, x, height, width))

    @cached_property
    def _index(self) -> GridIndex:
        index = GridIndex(CELL)
        for number, crop in enumerate(self.crops):
            index.add(number, crop)
        return index

    def _paint(self, indices: Iterable[int], y: int, x: int, height: int, width: int) -> np.ndarray:
        labels = np.zeros((height, width), np.int32)
        for index in indices:
            crop = self.crops[index]
            top, left = max(crop.y, y), max(crop.x, x)
            bottom, right = min(crop.bottom, y + height), min(crop.right, x + width)
            if top < bottom and left < right:
                mask = crop.mask[top - crop.y : bottom - crop.y, left - crop.x : right - crop.x]
                labels[top - y : bottom - y, left - x : right - x][mask] = index + 1
        return labels


@dataclass(frozen=True)
class Prediction:
    """The prediction of a model for one image.

    Args:
        detections: all nuclei that the model predicts, for COCO AP. They may overlap.
        nuclei: the final nuclei, which have a sufficient score and do not overlap.
        foreground: semantic map, (H, W) bool, True in nuclei.
    """

    detections: Detections
    nuclei: Nuclei
    foreground: np.ndarray
