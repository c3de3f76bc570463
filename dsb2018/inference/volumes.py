"""Links the nuclei of neighboring slices of a stack to 3-D nuclei.

Nuclei of neighboring slices that overlap form a column. Cellpose also stitches the results of 2-D
models in this way. Where nuclei lie directly above each other, a column has several of them: it is
cut where its area has a minimum between two larger areas.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.measurements import Columns
from dsb2018.structures.masks import common_pixels
from dsb2018.structures.nuclei import Nuclei

NECK = 0.8  # area of a neck, as a share of the smaller one of the largest areas above and below
TYPICAL_HEIGHT = 4  # slices; in stacks of such nuclei, a nucleus in a single slice is an error


class SliceLinker:
    """Assigns each nucleus of each slice the label of its 3-D nucleus."""

    def __init__(self, min_iou: float = 0.1):
        """
        Args:
            min_iou: minimum intersection over union of two nuclei of neighboring slices that are
                linked, 0 to 1. If several nuclei reach it, the highest value decides.
        """
        self._min_iou = min_iou
        self._previous: Nuclei | None = None
        self._columns_before: list[int] = []  # column of each nucleus of the previous slice
        self._columns: list[list[tuple[int, int]]] = []  # slice and index of each nucleus
        self._slices: list[Nuclei] = []

    def add(self, nuclei: Nuclei) -> None:
        """Adds the nuclei of the next slice.

        Raises:
            ValueError: the slice has another size than the previous one.
        """
        columns = [-1] * len(nuclei)
        if self._previous is not None:
            for before, index in self._match(self._previous, nuclei):
                columns[index] = self._columns_before[before]
        for index, column in enumerate(columns):
            if column < 0:
                columns[index] = len(self._columns)
                self._columns.append([])
            self._columns[columns[index]].append((len(self._slices), index))
        self._previous, self._columns_before = nuclei, columns
        self._slices.append(nuclei)

    def labels(self) -> tuple[list[np.ndarray], int]:
        """Returns the labels of the 3-D nuclei.

        Returns:
            For each slice, (N,) int32 labels of its nuclei from 1; 0 for a nucleus that is an error
            because it is in one slice only, while the others are in several. And the number of 3-D
            nuclei.
        """
        parts, areas = [], [nuclei.areas for nuclei in self._slices]
        for column in self._columns:
            necks = find_necks([areas[z][index] for z, index in column])
            parts += [column[start:stop] for start, stop in pairwise([0, *necks, None])]
        heights = [len(part) for part in parts]
        # The median is that of the nuclei in the slices, so that a few tall 3-D nuclei outweigh
        # many errors.
        if parts and np.median(np.repeat(heights, heights)) >= TYPICAL_HEIGHT:
            parts = [part for part in parts if len(part) > 1]
        labels = [np.zeros(len(nuclei), np.int32) for nuclei in self._slices]
        for label, part in enumerate(sorted(parts), start=1):
            for z, index in part:
                labels[z][index] = label
        return labels, len(parts)

    def _match(self, previous: Nuclei, current: Nuclei) -> list[tuple[int, int]]:
        """Returns pairs of indices into two slices, matched greedily from the highest IoU."""
        if previous.size != current.size:
            raise ValueError(
                f"a slice of size {current.size}, expected {previous.size}, as the previous slice"
            )
        previous_areas, candidates = previous.areas, []
        for index, crop in enumerate(current.crops):
            area = crop.area
            for previous_index in previous.near(crop.y, crop.x, *crop.mask.shape):
                common = common_pixels(previous.crops[previous_index], crop)
                iou = common / (previous_areas[previous_index] + area - common)
                if iou >= self._min_iou:
                    candidates.append((-iou, previous_index, index))
        pairs: list[tuple[int, int]] = []
        matched_previous, matched = set(), set()
        for _, previous_index, index in sorted(candidates):
            if previous_index not in matched_previous and index not in matched:
                matched_previous.add(previous_index)
                matched.add(index)
                pairs.append((previous_index, index))
        return pairs


def find_necks(areas: Sequence[int]) -> list[int]:
    """Finds the necks of a column of nuclei.

    Args:
        areas: area in each slice, pixels.

    Returns:
        For each neck, sorted, the index of the first slice of the part above it. The slice of the
        neck belongs to the neighbor whose area is more similar.
    """
    values = np.asarray(areas, np.float64)
    if len(values) < 3:
        return []
    before, after = np.maximum.accumulate(values), np.maximum.accumulate(values[::-1])[::-1]
    ratios = values[1:-1] / np.minimum(before[:-2], after[2:])
    neck = int(np.argmin(ratios)) + 1
    if ratios[neck - 1] >= NECK:
        return []
    is_below = abs(values[neck - 1] - values[neck]) <= abs(values[neck + 1] - values[neck])
    cut = neck + 1 if is_below else neck
    return [*find_necks(values[:cut]), cut, *(cut + n for n in find_necks(values[cut:]))]


def measure_volumes(
    slices: Sequence[tuple[Nuclei, np.ndarray]], count: int, image: MicroscopyImage
) -> Columns:
    """Measures the 3-D nuclei of a stack.

    Args:
        slices: the nuclei of each slice, and the (N,) labels of their 3-D nuclei, from 1; nuclei
            with the label 0 are left out.
        count: number of 3-D nuclei.
        image: the stack.

    Returns:
        {column: (count,) values} with the columns label, first_slice, last_slice, voxels,
        centroid_z (slices), centroid_y and centroid_x (pixels), and volume_um3 if the size of a
        voxel is known.
    """
    voxels, sums = np.zeros(count), np.zeros((count, 3))
    first, last = np.full(count, len(slices)), np.full(count, -1)
    for z, (nuclei, labels) in enumerate(slices):
        for crop, row in zip(nuclei.crops, (labels - 1).tolist(), strict=True):
            if row < 0:
                continue
            y, x = np.nonzero(crop.mask)
            voxels[row] += len(y)
            sums[row] += z * len(y), y.sum() + crop.y * len(y), x.sum() + crop.x * len(x)
            first[row], last[row] = min(first[row], z), max(last[row], z)
    centroids = sums / np.maximum(voxels, 1)[:, None]
    columns: Columns = {
        "label": np.arange(1, count + 1),
        "first_slice": first,
        "last_slice": last,
        "voxels": voxels.astype(np.int64),
        **{f"centroid_{axis}": centroids[:, i] for i, axis in enumerate("zyx")},
    }
    if image.pixel_size and image.slice_distance:
        y, x = image.pixel_size
        columns["volume_um3"] = voxels * y * x * image.slice_distance
    return columns
