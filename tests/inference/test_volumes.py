from pathlib import Path

import numpy as np
import pytest

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.volumes import SliceLinker, find_necks, measure_volumes
from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import find_bright


def draw_balls(depth=20, size=(64, 96)) -> np.ndarray:
    """Returns (Z, Y, X) labels of three balls; the third one is above the first."""
    z, y, x = np.mgrid[:depth, : size[0], : size[1]]
    volume = np.zeros((depth, *size), np.int32)
    for label, (cz, cy, cx, r) in enumerate([(5, 20, 20, 5), (9, 40, 70, 8), (16, 21, 20, 3)], 1):
        volume[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= r * r] = label
    return volume


def link_slices(volume: np.ndarray) -> list[tuple[Nuclei, np.ndarray]]:
    """Returns the nuclei of each slice of a label volume, and the labels of their 3-D nuclei."""
    linker, slices = SliceLinker(), []
    for plane in volume:
        slices += find_bright([np.repeat((plane > 0)[..., None] * np.uint8(200), 3, axis=2)])
        linker.add(slices[-1])
    return list(zip(slices, linker.labels()[0], strict=True))


def link_labels(volume: np.ndarray) -> tuple[np.ndarray, int]:
    """Links the slices of a volume, each numbered anew; returns its new labels and their number."""
    linker = SliceLinker()
    planes = [np.unique(plane, return_inverse=True)[1].reshape(plane.shape) for plane in volume]
    for plane in planes:
        linker.add(Nuclei.from_labels(plane.astype(np.int32), np.ones(plane.max())))
    labels, count = linker.labels()
    tables = [np.concatenate([[0], numbers]) for numbers in labels]
    return np.stack([table[plane] for table, plane in zip(tables, planes, strict=True)]), count


def test_slices_of_balls_are_linked():
    volume = draw_balls()
    slices = link_slices(volume)
    linked = np.stack([np.concatenate([[0], labels])[nuclei.labels] for nuclei, labels in slices])
    assert len(np.unique(linked)) - 1 >= 3
    for label in (1, 2, 3):
        counts = np.bincount(linked[volume == label])
        assert counts.max() > 0.95 * counts.sum()  # the caps of a ball grow too fast to be linked
    assert len({np.bincount(linked[volume == label]).argmax() for label in (1, 2, 3)}) == 3


def test_nuclei_with_the_highest_iou_are_linked():
    first, second = np.zeros((4, 12), np.int32), np.zeros((4, 12), np.int32)
    first[:, 0:6], first[:, 6:12] = 1, 2
    second[:, 1:7], second[:, 7:12] = 1, 2
    linker = SliceLinker()
    assert linker.labels() == ([], 0)
    for labels in (first, second, np.zeros_like(second), second):
        linker.add(Nuclei.from_labels(labels, np.ones(labels.max())))
    labels, count = linker.labels()
    assert [numbers.tolist() for numbers in labels] == [[1, 2], [1, 2], [], [3, 4]]
    assert count == 4
    with pytest.raises(ValueError, match="a slice of size"):
        linker.add(Nuclei.from_labels(np.zeros((5, 5), np.int32), np.ones(0)))


def test_nuclei_above_each_other_are_cut_at_the_neck():
    z, y, x = np.mgrid[:24, :40, :60]
    volume = np.zeros((24, 40, 60), np.int32)
    for label, (cz, cy, cx, r) in enumerate([(6, 20, 20, 6), (17, 21, 22, 6), (11, 20, 45, 8)], 1):
        volume[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= r * r] = label
    # In slice 11, both balls of the first column have a pixel or two, which makes one column.
    linked, count = link_labels(volume)
    assert count == 3
    for label in (1, 2, 3):
        counts = np.bincount(linked[volume == label])
        assert counts.max() > 0.95 * counts.sum()


def test_find_necks():
    assert find_necks([]) == find_necks([5]) == find_necks([5, 1]) == []
    assert find_necks([1, 4, 9, 9, 4, 1]) == []
    assert find_necks([4, 9, 9, 2, 8, 9, 3]) == [3]
    assert find_necks([4, 9, 3, 2, 8, 9, 3]) == [4]
    assert find_necks([4, 9, 9, 8, 9, 9, 3]) == []  # 8 of 9 is no neck
    assert find_necks([9, 1, 9, 1, 9]) == [2, 4]
    assert find_necks([9, 6, 3, 9]) == [3]
    assert find_necks([9, 3, 6, 9]) == [1]


def test_a_nucleus_in_one_slice_is_an_error_where_others_are_in_several():
    volume = np.zeros((6, 20, 30), np.int32)
    volume[:, 2:8, 2:8], volume[1:, 2:8, 12:18], volume[3, 12:18, 20:26] = 1, 2, 3
    linked, count = link_labels(volume)
    assert count == 2
    assert not linked[volume == 3].any()
    flat = volume[3:4]
    assert link_labels(flat)[1] == 3


def test_measure_volumes():
    volume = np.zeros((4, 10, 12), np.int32)
    volume[1:3, 2:5, 3:7] = 1
    slices = link_slices(volume)
    image = MicroscopyImage(
        "a", Path("a"), volume, "ZYX", pixel_size=(0.5, 0.5), slice_distance=2.0
    )
    columns = measure_volumes(slices, 1, image)
    assert {name: values.tolist() for name, values in columns.items()} == {
        "label": [1],
        "first_slice": [1],
        "last_slice": [2],
        "voxels": [24],
        "centroid_z": [1.5],
        "centroid_y": [3.0],
        "centroid_x": [4.5],
        "volume_um3": [24 * 0.25 * 2],
    }
    unlinked = [(nuclei, labels * 0) for nuclei, labels in slices]
    assert measure_volumes(unlinked, 0, image)["voxels"].tolist() == []
