"""Slices to volumes: nuclei of neighbouring slices that lie over each other are one nucleus.

Linking by overlap, slice by slice, as Cellpose and others do for models that see two dimensions.
"""

from collections.abc import Sequence

import numpy as np

from dsb2018.inference.measuring import Columns
from dsb2018.inference.nuclei import Nuclei
from dsb2018.inference.pictures import Picture


class SliceLinker:
    """Gives the nuclei of each slice the numbers that they have in the whole stack."""

    def __init__(self, least_iou: float = 0.25):
        """
        Args:
            least_iou: two nuclei of neighbouring slices are one where their intersection over union
                is at least this, 0 to 1; of several that one with most of it.
        """
        self._least_iou = least_iou
        self._labels: np.ndarray | None = None  # of the slice before, its own numbers
        self._areas = np.zeros(0, np.int64)
        self._numbers = np.zeros(0, np.int32)  # theirs in the stack
        self.count = 0

    def link(self, nuclei: Nuclei) -> np.ndarray:
        """The next slice.

        Returns:
            (N,) int32 numbers in the stack, from 1, one for each nucleus.

        Raises:
            ValueError: of another size than the slice before.
        """
        labels = nuclei.labels
        numbers = np.zeros(len(nuclei), np.int32)
        if self._labels is not None:
            above, here = self._match(labels, nuclei.areas)
            numbers[here] = self._numbers[above]
        new = numbers == 0
        numbers[new] = self.count + 1 + np.arange(np.count_nonzero(new))
        self.count += int(np.count_nonzero(new))
        self._labels, self._areas, self._numbers = labels, nuclei.areas, numbers
        return numbers

    def _match(self, labels: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the nuclei above and here that are one."""
        if labels.shape != self._labels.shape:
            raise ValueError(f"slices of {self._labels.shape} and {labels.shape} pixels")
        both = (self._labels > 0) & (labels > 0)
        codes = self._labels[both].astype(np.int64) * (len(areas) + 1) + labels[both]
        pairs, common = np.unique(codes, return_counts=True)
        above, here = np.divmod(pairs, len(areas) + 1)
        above, here = above - 1, here - 1
        iou = common / (self._areas[above] + areas[here] - common)
        taken_above, taken_here, kept = set(), set(), []
        for pair in np.argsort(-iou, kind="stable").tolist():
            ends = int(above[pair]), int(here[pair])
            if iou[pair] < self._least_iou:
                break
            if ends[0] not in taken_above and ends[1] not in taken_here:
                taken_above.add(ends[0])
                taken_here.add(ends[1])
                kept.append(pair)
        return above[kept], here[kept]


def measure_volumes(
    slices: Sequence[tuple[Nuclei, np.ndarray]], count: int, picture: Picture
) -> Columns:
    """Measures the nuclei of a stack.

    Args:
        slices: nuclei of each slice and their numbers in the stack.
        count: of 3-D nuclei.
        picture: the stack.

    Returns:
        {column: (count,) values}: label, first_slice, last_slice, voxels, the centroid's z, y, x
        (slices and pixels), and volume_um3 where the size of a voxel is known.
    """
    voxels, sums = np.zeros(count), np.zeros((count, 3))
    first, last = np.full(count, len(slices)), np.full(count, -1)
    for z, (nuclei, numbers) in enumerate(slices):
        for crop, number in zip(nuclei.crops, (numbers - 1).tolist(), strict=True):
            y, x = np.nonzero(crop.mask)
            voxels[number] += len(y)
            sums[number] += z * len(y), y.sum() + crop.y * len(y), x.sum() + crop.x * len(x)
            first[number], last[number] = min(first[number], z), max(last[number], z)
    centroids = sums / np.maximum(voxels, 1)[:, None]
    columns: Columns = {
        "label": np.arange(1, count + 1),
        "first_slice": first,
        "last_slice": last,
        "voxels": voxels.astype(np.int64),
        **{f"centroid_{axis}": centroids[:, place] for place, axis in enumerate("zyx")},
    }
    if picture.pixel_size and picture.slice_distance:
        y, x = picture.pixel_size
        columns["volume_um3"] = voxels * y * x * picture.slice_distance
    return columns
