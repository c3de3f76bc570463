from pathlib import Path

import numpy as np
import pytest

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.volumes import SliceLinker, measure_volumes
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
    linker, slices = SliceLinker(min_iou=0.2), []
    for plane in volume:
        (nuclei,) = find_bright([np.repeat((plane > 0)[..., None] * np.uint8(200), 3, axis=2)])
        slices.append((nuclei, linker.link(nuclei)))
    return slices


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
    assert linker.link(Nuclei.from_labels(first, np.ones(2))).tolist() == [1, 2]
    assert linker.link(Nuclei.from_labels(second, np.ones(2))).tolist() == [1, 2]
    assert linker.link(Nuclei.from_labels(np.zeros_like(second), np.ones(0))).tolist() == []
    assert linker.link(Nuclei.from_labels(second, np.ones(2))).tolist() == [3, 4]
    assert linker.count == 4
    with pytest.raises(ValueError, match="a slice of size"):
        linker.link(Nuclei.from_labels(np.zeros((5, 5), np.int32), np.ones(0)))


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
