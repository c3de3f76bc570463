"""The nuclei of one image: what inference gives and every writer takes."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dsb2018.masks import Crop


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
        return self.labels_of_rows(0, self.size[0])

    def labels_of_rows(self, top: int, bottom: int) -> np.ndarray:
        """(bottom - top, W) int32: the label image's rows from `top` to before `bottom`."""
        labels = np.zeros((bottom - top, self.size[1]), np.int32)
        for label, crop in enumerate(self.crops, start=1):
            paint(labels, crop, label, top)
        return labels

    @property
    def areas(self) -> np.ndarray:
        """(N,) int64 pixels."""
        return np.array([crop.area for crop in self.crops], np.int64)


def paint(labels: np.ndarray, crop: Crop, label: int, top: int = 0) -> None:
    """Writes a label to a nucleus's pixels in rows of a label image that begin at `top`."""
    height, width = crop.mask.shape
    first, last = max(crop.y, top), min(crop.y + height, top + len(labels))
    if first < last:
        window = labels[first - top : last - top, crop.x : crop.x + width]
        window[crop.mask[first - crop.y : last - crop.y]] = label


def strips(nuclei: Nuclei, height: int) -> Iterator[np.ndarray]:
    """The label image from top to bottom in strips of `height` rows, the last one may be lower.

    Each nucleus is painted only where it lies, so the time does not grow with strips × nuclei.
    """
    order = deque(sorted(range(len(nuclei)), key=lambda index: nuclei.crops[index].y))
    begun: list[int] = []
    for top in range(0, nuclei.size[0], height):
        bottom = min(top + height, nuclei.size[0])
        labels = np.zeros((bottom - top, nuclei.size[1]), np.int32)
        while order and nuclei.crops[order[0]].y < bottom:
            begun.append(order.popleft())
        for index in begun:
            paint(labels, nuclei.crops[index], index + 1, top)
        crops = nuclei.crops
        begun = [i for i in begun if crops[i].y + len(crops[i].mask) > bottom]
        yield labels
