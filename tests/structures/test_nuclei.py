import numpy as np
import pytest

from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import draw_discs


def test_nuclei_from_labels_keep_the_labels():
    labels = draw_discs()
    nuclei = Nuclei.from_labels(labels, np.linspace(1, 0.5, labels.max()))
    assert len(nuclei) == labels.max() > 20
    assert (nuclei.labels == labels).all()
    assert (nuclei.areas == np.bincount(labels.ravel())[1:]).all()
    assert nuclei.scores.dtype == np.float32
    for label, crop in enumerate(nuclei.crops, start=1):
        y, x = np.nonzero(labels == label)
        assert crop.box == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]


@pytest.mark.parametrize(
    "window", [(0, 0, 300, 400), (13, 250, 44, 150), (255, 255, 2, 2), (299, 399, 1, 1)]
)
def test_window_of_the_label_image(window):
    labels = draw_discs()
    nuclei = Nuclei.from_labels(labels, np.ones(labels.max()))
    y, x, height, width = window
    expected = labels[y : y + height, x : x + width]
    assert (nuclei.window(*window) == expected).all()
    assert set(np.unique(expected[expected > 0]) - 1) <= set(nuclei.near(*window))


def test_pixels_outside_of_the_image_are_background():
    nuclei = Nuclei.from_labels(np.ones((5, 6), np.int32), np.ones(1))
    assert (nuclei.window(3, 4, 4, 4) == np.pad(np.ones((2, 2)), (0, 2))).all()


def test_image_without_nuclei():
    nuclei = Nuclei.from_labels(np.zeros((5, 6), np.int32), np.zeros(0))
    assert len(nuclei) == 0
    assert nuclei.labels.shape == (5, 6)
    assert not nuclei.labels.any()
    assert not nuclei.window(1, 2, 3, 3).any()
