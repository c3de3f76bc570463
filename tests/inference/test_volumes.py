from pathlib import Path

import numpy as np
import pytest

from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.inference.volumes import SliceLinker, measure_volumes
from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import find_bright


def balls(depth=20, size=(64, 96)) -> np.ndarray:
    """(Z, Y, X) labels of three balls; the third lies above the first."""
    z, y, x = np.mgrid[:depth, : size[0], : size[1]]
    volume = np.zeros((depth, *size), np.int32)
    for label, (cz, cy, cx, r) in enumerate([(5, 20, 20, 5), (9, 40, 70, 8), (16, 21, 20, 3)], 1):
        volume[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= r * r] = label
    return volume


def slices_of(volume: np.ndarray) -> list[tuple[Nuclei, np.ndarray]]:
    linker, slices = SliceLinker(least_iou=0.2), []
    for plane in volume:
        (nuclei,) = find_bright([np.repeat((plane > 0)[..., None] * np.uint8(200), 3, axis=2)])
        slices.append((nuclei, linker.link(nuclei)))
    return slices


def test_balls_are_linked():
    volume = balls()
    slices = slices_of(volume)
    found = np.stack([np.concatenate([[0], numbers])[n.labels] for n, numbers in slices])
    assert len(np.unique(found)) - 1 >= 3
    for label in (1, 2, 3):  # but for the caps, which grow by more than linking allows
        numbers = np.bincount(found[volume == label])
        assert numbers.max() > 0.95 * numbers.sum()
    assert len({np.bincount(found[volume == label]).argmax() for label in (1, 2, 3)}) == 3


def test_pairs_with_most_overlap():
    below, above = np.zeros((4, 12), np.int32), np.zeros((4, 12), np.int32)
    below[:, 0:6], below[:, 6:12] = 1, 2
    above[:, 1:7], above[:, 7:12] = 1, 2
    linker = SliceLinker()
    assert linker.link(Nuclei.from_labels(below, np.ones(2))).tolist() == [1, 2]
    assert linker.link(Nuclei.from_labels(above, np.ones(2))).tolist() == [1, 2]
    assert linker.link(Nuclei.from_labels(np.zeros_like(above), np.ones(0))).tolist() == []
    assert linker.link(Nuclei.from_labels(above, np.ones(2))).tolist() == [3, 4]
    assert linker.count == 4
    with pytest.raises(ValueError, match="slices of"):
        linker.link(Nuclei.from_labels(np.zeros((5, 5), np.int32), np.ones(0)))


def test_volumes():
    volume = np.zeros((4, 10, 12), np.int32)
    volume[1:3, 2:5, 3:7] = 1
    slices = slices_of(volume)
    picture = MicroscopyImage(
        "a", Path("a"), volume, "ZYX", pixel_size=(0.5, 0.5), slice_distance=2.0
    )
    columns = measure_volumes(slices, 1, picture)
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
