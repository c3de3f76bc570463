"""Nuclei are divided by the votes of their pixels."""

import numpy as np
import pytest

from dsb2018.runtime.postprocess import (
    InstanceOptions,
    Maps,
    find_nuclei,
    find_resized_nuclei,
    postprocess,
)
from dsb2018.runtime.voting import divide_by_votes, largest_pieces
from dsb2018.structures.labels import center_offsets, label_components, median_diameter
from tests.runtime.test_scaling import discs

VOTES = InstanceOptions(method="votes", seed_depth=3.0, min_area=5)


def touching(count: int = 3, diameter: int = 24) -> np.ndarray:
    """A row of touching discs of different labels."""
    y, x = np.mgrid[: 2 * diameter, : (count + 1) * diameter]
    labels = np.zeros(y.shape, np.int32)
    for label in range(1, count + 1):
        disc = (y - diameter) ** 2 + (x - label * diameter) ** 2 <= (0.55 * diameter) ** 2
        labels[disc & (labels == 0)] = label
    return labels


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two label images differ in their numbers only."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(a)) == len(np.unique(b))


def test_center_offsets():
    labels = np.zeros((5, 7), np.uint8)
    labels[1:4, 2:6] = 3
    offsets = center_offsets(labels)
    assert offsets.dtype == np.float32
    np.testing.assert_allclose(offsets[:, 1, 2], (1, 1.5))
    np.testing.assert_allclose(offsets[:, 3, 5], (-1, -1.5))
    assert not offsets[:, labels == 0].any()
    assert median_diameter(labels) == pytest.approx(2 * np.sqrt(12 / np.pi))
    assert median_diameter(labels * 0) == 0


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_touching_nuclei_are_divided(noise):
    labels = touching()
    assert label_components(labels > 0).max() == 1
    offsets = center_offsets(labels)
    offsets += np.random.default_rng(0).normal(0, noise, offsets.shape)
    divided = divide_by_votes(labels > 0, offsets.astype(np.float32), 3.0, 2.0)
    assert divided.max() == 3
    assert (divided > 0).sum() == (labels > 0).sum()
    if not noise:
        assert same(divided, labels)
    else:
        agree = max(np.mean(divided[labels == 2] == k) for k in (1, 2, 3))
        assert agree > 0.95


def test_votes_out_of_the_image_and_regions_without_center():
    mask = np.zeros((40, 40), bool)
    mask[:10, :10] = mask[30, 30] = True
    offsets = np.full((2, 40, 40), -100, np.float32)  # all votes end in the corner
    divided = divide_by_votes(mask, offsets, 3.0, 2.0)
    assert divided[0, 0] != divided[30, 30] > 0
    assert divided.max() == 2
    assert divide_by_votes(mask & False, offsets, 3.0, 2.0).max() == 0


def test_nuclei_are_in_one_piece():
    labels = np.array([[1, 1, 0, 2], [0, 0, 0, 2], [2, 0, 1, 0]])
    np.testing.assert_array_equal(
        largest_pieces(labels), [[1, 1, 0, 2], [0, 0, 0, 2], [0, 0, 0, 0]]
    )


@pytest.mark.parametrize("scale", [0.5, 0.73, 1.0, 2.0, 3.3])
def test_labels_are_resized_with_smooth_outlines(scale):
    labels = discs(40)
    nucleus = (labels > 0).astype(np.float32)
    maps = Maps(nucleus, None, center_offsets(labels))
    size = (round(200 * scale), round(200 * scale))
    expected = discs(round(40 * scale), size[0]) if scale == 1 else None
    found = find_resized_nuclei(maps, VOTES, size)
    prediction = postprocess(maps, VOTES, size)
    np.testing.assert_array_equal(prediction.nuclei.labels, found)
    assert prediction.foreground.shape == found.shape == size
    assert found.max() == len(prediction.nuclei) == 4
    areas = np.bincount(found.ravel())[1:]
    np.testing.assert_allclose(areas, np.pi * (20.5 * scale) ** 2, rtol=0.08)
    if expected is not None:
        assert same(found, expected)


def test_nuclei_smaller_than_a_pixel_are_lost():
    labels = np.zeros((64, 64), np.int32)
    labels[10:40, 10:40], labels[50:52, 50:52] = 1, 2
    maps = Maps((labels > 0).astype(np.float32), None, center_offsets(labels))
    options = InstanceOptions(method="votes", seed_depth=3.0)
    assert find_nuclei(maps, options).max() == 2
    prediction = postprocess(maps, options, (8, 8))
    assert len(prediction.nuclei) == len(prediction.nuclei.scores) == 1


def test_holes_that_were_filled_stay_filled():
    labels = discs(40)
    nucleus = (labels > 0).astype(np.float32)
    nucleus[48:52, 48:52] = 0
    options = InstanceOptions(method="votes", seed_depth=3.0, max_hole=30)
    found = find_resized_nuclei(Maps(nucleus, None, center_offsets(labels)), options, (300, 300))
    assert found[75, 75] == found[75, 60] > 0
