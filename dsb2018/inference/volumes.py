"""Links the nuclei of neighboring slices of a stack to 3-D nuclei.

Two nuclei of neighboring slices are linked if they overlap enough. Cellpose also stitches the
results of 2-D models in this way.
"""

from collections.abc import Sequence

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.measurements import Columns
from dsb2018.structures.masks import common_pixels
from dsb2018.structures.nuclei import Nuclei


class SliceLinker:
    """Assigns each nucleus of each slice the label of its 3-D nucleus."""

    def __init__(self, min_iou: float = 0.25):
        """
        Args:
            min_iou: minimum intersection over union of two nuclei of neighboring slices that are
                linked, 0 to 1. If several nuclei reach it, the highest value decides.
        """
        self._min_iou = min_iou
        self._previous: Nuclei | None = None
        self._previous_labels = np.zeros(0, np.int32)
        self.count = 0  # 3-D nuclei so far

    def link(self, nuclei: Nuclei) -> np.ndarray:
        """Links the nuclei of the next slice.

        Returns:
            (N,) int32 labels of the 3-D nuclei, from 1, one for each nucleus of the slice.

        Raises:
            ValueError: the slice has another size than the previous one.
        """
        labels = np.zeros(len(nuclei), np.int32)
        if self._previous is not None:
            for previous_index, index in self._match(self._previous, nuclei):
                labels[index] = self._previous_labels[previous_index]
        is_new = labels == 0
        labels[is_new] = self.count + 1 + np.arange(np.count_nonzero(is_new))
        self.count += int(np.count_nonzero(is_new))
        self._previous, self._previous_labels = nuclei, labels
        return labels

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


def measure_volumes(
    slices: Sequence[tuple[Nuclei, np.ndarray]], count: int, image: MicroscopyImage
) -> Columns:
    """Measures the 3-D nuclei of a stack.

    Args:
        slices: the nuclei of each slice, and the (N,) labels of their 3-D nuclei, from 1.
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
