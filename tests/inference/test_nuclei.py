import numpy as np
import pytest

from dsb2018.inference.nuclei import Nuclei, strips
from tests.inference.drawing import draw_discs


def test_labels_there_and_back():
    labels = draw_discs()
    nuclei = Nuclei.from_labels(labels, np.linspace(1, 0.5, labels.max()))
    assert len(nuclei) == labels.max() > 20
    assert (nuclei.labels == labels).all()
    assert (nuclei.areas == np.bincount(labels.ravel())[1:]).all()
    assert nuclei.scores.dtype == np.float32
    for label, crop in enumerate(nuclei.crops, start=1):
        y, x = np.nonzero(labels == label)
        assert crop.box == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]


@pytest.mark.parametrize("height", [1, 7, 64, 299, 300, 1000])
def test_strips_are_the_label_image(height):
    labels = draw_discs()
    nuclei = Nuclei.from_labels(labels, np.ones(labels.max()))
    parts = list(strips(nuclei, height))
    assert (np.concatenate(parts) == labels).all()
    assert {len(part) for part in parts[:-1]} <= {height}
    assert (nuclei.labels_of_rows(13, 57) == labels[13:57]).all()


def test_an_image_without_nuclei():
    nuclei = Nuclei.from_labels(np.zeros((5, 6), np.int32), np.zeros(0))
    assert len(nuclei) == 0
    assert nuclei.labels.shape == (5, 6)
    assert not nuclei.labels.any()
    assert [part.shape for part in strips(nuclei, 4)] == [(4, 6), (1, 6)]
