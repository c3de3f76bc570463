"""Stored maps give the nuclei of a new prediction."""

import numpy as np
import pytest

from dsb2018 import Predictor
from dsb2018.inference.adjustable import AdjustableNuclei, StoredMaps
from dsb2018.inference.tiling.tiles import Tiling
from tests.inference.drawing import micrograph


def assert_same(a, b):
    assert np.array_equal(a.labels, b.labels)
    assert np.array_equal(a.scores, b.scores)


@pytest.mark.parametrize("diameter", [None, 24.0])
@pytest.mark.parametrize("model", ["nuclei_fast", "simple_cnn"])
def test_a_threshold_gives_the_nuclei_of_a_predictor(model, diameter):
    if model == "simple_cnn" and diameter:
        return  # it has no scale
    image, _ = micrograph((200, 260))
    predictor = Predictor(model, diameter=diameter)
    found = predictor.adjustable(image)
    assert_same(found.nuclei(), predictor(image))
    counts = set()
    for threshold in (0.2, predictor.threshold, 0.9):
        expected = Predictor(model, diameter=diameter, threshold=threshold)(image)
        assert_same(found.nuclei(threshold), expected)
        counts.add(int((expected.labels > 0).sum()))
    assert len(counts) == 3  # the threshold has an effect


def test_tiles():
    image, _ = micrograph((300, 420), seed=2)
    options = {"tiling": Tiling(128, 32, 160), "diameter": 20.0}
    found = Predictor("nuclei_fast", **options).adjustable(image)
    for threshold in (None, 0.8):
        expected = Predictor("nuclei_fast", threshold=threshold, **options)(image)
        assert_same(found.nuclei(threshold), expected)
    assert len(found.nuclei()) > 20


def test_maps_on_disk(tmp_path):
    image, _ = micrograph((160, 160))
    predictor = Predictor("nuclei_fast")
    tiles = predictor.tiles((160, 160), 1.0)
    rgb = predictor.prepare(image)
    (output,) = predictor.outputs(lambda *window: rgb, tiles, 1.0)
    assert isinstance(output, StoredMaps)
    stored = output.on_disk(tmp_path)
    assert isinstance(stored.maps.nucleus, np.memmap)
    assert len(list(tmp_path.iterdir())) == 3
    a, b = (AdjustableNuclei((160, 160), tiles, [one]).nuclei(0.7) for one in (output, stored))
    assert_same(a, b)


def test_mask_rcnn():
    image, _ = micrograph((128, 128))
    found = Predictor("mask_rcnn", diameter=20).adjustable(image)
    assert_same(found.nuclei(), Predictor("mask_rcnn", diameter=20)(image))
    high = float(np.median(found.nuclei().scores))
    assert_same(found.nuclei(high), Predictor("mask_rcnn", diameter=20, threshold=high)(image))
    assert 0 < len(found.nuclei(high)) < len(found.nuclei())


def test_shapes_that_are_no_image():
    with pytest.raises(ValueError, match="expected"):
        Predictor("nuclei_fast").adjustable(np.zeros((3, 4, 5, 6)))
