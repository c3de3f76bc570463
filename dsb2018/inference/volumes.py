"""Slices to volumes: nuclei of neighbouring slices that lie over each other are one nucleus.

Linking by overlap, slice by slice, as Cellpose and others do for models that see two dimensions.
"""

from collections.abc import Sequence

import numpy as np

from dsb2018.inference.measurements import Columns
from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.structures.masks import common_pixels
from dsb2018.structures.nuclei import Nuclei


class SliceLinker:
    """Gives the nuclei of each slice the numbers that they have in the whole stack."""

    def __init__(self, least_iou: float = 0.25):
        """
        Args:
            least_iou: two nuclei of neighbouring slices are one where their intersection over union
                is at least this, 0 to 1; of several that one with most of it.
        """
        self._least_iou = least_iou
        self._above: Nuclei | None = None
        self._numbers = np.zeros(0, np.int32)  # theirs in the stack
        self.count = 0

    def link(self, nuclei: Nuclei) -> np.ndarray:
        """The next slice.

        Returns:
            (N,) int32 numbers in the stack, from 1, one for each nucleus.

        Raises:
            ValueError: of another size than the slice before.
        """
        numbers = np.zeros(len(nuclei), np.int32)
        if self._above is not None:
            for above, here in self._match(self._above, nuclei):
                numbers[here] = self._numbers[above]
        new = numbers == 0
        numbers[new] = self.count + 1 + np.arange(np.count_nonzero(new))
        self.count += int(np.count_nonzero(new))
        self._above, self._numbers = nuclei, numbers
        return numbers

    def _match(self, above: Nuclei, here: Nuclei) -> list[tuple[int, int]]:
        """Indices of nuclei of both that are one; those that have most in common first."""
        if above.size != here.size:
            raise ValueError(f"slices of {above.size} and {here.size} pixels")
        areas, found = above.areas, []
        for index, crop in enumerate(here.crops):
            area = crop.area
            for other in above.near(crop.y, crop.x, *crop.mask.shape):
                common = common_pixels(above.crops[other], crop)
                iou = common / (areas[other] + area - common)
                if iou >= self._least_iou:
                    found.append((-iou, other, index))
        pairs, taken = [], (set(), set())
        for _, *pair in sorted(found):
            if pair[0] not in taken[0] and pair[1] not in taken[1]:
                for each, index in zip(taken, pair, strict=True):
                    each.add(index)
                pairs.append(tuple(pair))
        return pairs


def measure_volumes(
    slices: Sequence[tuple[Nuclei, np.ndarray]], count: int, image: MicroscopyImage
) -> Columns:
    """Measures the nuclei of a stack.

    Args:
        slices: nuclei of each slice and their numbers in the stack.
        count: of 3-D nuclei.
        image: the stack.

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
    if image.pixel_size and image.slice_distance:
        y, x = image.pixel_size
        columns["volume_um3"] = voxels * y * x * image.slice_distance
    return columns
