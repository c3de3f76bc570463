"""A model with `INPUT.DIAMETER` sees nuclei of one size."""

import numpy as np
import pytest
import torch

from dsb2018.runtime.scaling import ScaledModel, measure_diameter
from dsb2018.structures.nuclei import Nuclei, Prediction
from dsb2018.structures.scale import pixels_per_step, resize_by, zoom_for


def discs(diameter: int, size: int = 200) -> np.ndarray:
    """(size, size) label image of four discs."""
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for label, (cy, cx) in enumerate(((50, 50), (50, 150), (150, 50), (150, 150)), start=1):
        if diameter:
            labels[(y - cy) ** 2 + (x - cx) ** 2 <= diameter**2 / 4] = label
    return labels


class Finder:
    """Finds bright pixels as one nucleus per quarter; remembers the sizes of its inputs."""

    parameter_count = 7

    def __init__(self, bias: float = 1.0):
        self.sizes, self.bias = [], bias

    def __call__(self, inputs):
        (sample,) = inputs
        self.sizes.append(sample["image"].shape[1:])
        bright = np.asarray(sample["image"][0]) > 127
        diameter = 2 * np.sqrt(bright.sum() / 4 / np.pi) if bright.any() else 0
        zoom = sample["image"].shape[1] / sample["height"]
        labels = (
            discs(round(self.bias * diameter / zoom)) if diameter else np.zeros((200, 200), int)
        )
        return [Prediction(nuclei := Nuclei.from_labels(labels), nuclei, labels > 0)]


def sample_of(diameter: int) -> dict:
    image = np.uint8(255) * (discs(diameter) > 0)
    return {"image": torch.from_numpy(np.stack([image] * 3))}


@pytest.mark.parametrize(("diameter", "zoom"), [(24, 1), (12, 2), (48, 0.5), (2, 4), (900, 0.25)])
def test_zoom(diameter, zoom):
    assert zoom_for(diameter, 24) == zoom


def test_zooms_keep_the_grid_of_tiles():
    for diameter in np.linspace(3, 200, 300):
        zoom = zoom_for(diameter, 24)
        n = pixels_per_step(zoom)
        assert zoom == 32 / n
        assert resize_by(np.zeros((3 * n, n, 3), np.uint8), zoom).shape == (96, 32, 3)
        if 6 < diameter < 96:
            assert diameter * zoom == pytest.approx(24, rel=0.07)


@pytest.mark.parametrize(("diameter", "passes"), [(23, 1), (12, 2), (60, 2)])
def test_images_are_brought_to_the_size(diameter, passes):
    finder = Finder()
    model = ScaledModel(finder, 24, 4096)
    (prediction,) = model([sample_of(diameter)])
    assert measure_diameter([prediction]) == pytest.approx(diameter, rel=0.1)
    assert len(finder.sizes) == passes
    assert finder.sizes[0] == (200, 200)
    assert finder.sizes[-1][0] / 200 * diameter == pytest.approx(24, rel=0.15)
    assert model.parameter_count == 7


def test_third_pass_if_the_second_one_disagrees():
    finder = Finder(bias=1.5)  # each pass finds larger nuclei than there are
    zoom, predictions = ScaledModel(finder, 24, 4096).search([sample_of(20)])
    assert predictions is not None
    assert zoom == zoom_for(20 * 1.5, 24)

    class Drifting(Finder):
        def __call__(self, inputs):
            self.bias *= 1.5
            return super().__call__(inputs)

    zoom, predictions = ScaledModel(Drifting(), 24, 4096).search([sample_of(24)])
    assert predictions is None  # the final pass is made with the zoom of the second one
    assert zoom == zoom_for(24 * 1.5**2, 24)


def test_known_zoom_needs_one_pass():
    finder = Finder()
    ScaledModel(finder, 24, 4096)([{**sample_of(12), "zoom": 2.0}])
    assert finder.sizes == [(400, 400)]


def test_enlargement_is_limited():
    finder = Finder()
    ScaledModel(finder, 24, 300)([{**sample_of(12), "zoom": 4.0}, {**sample_of(12), "zoom": 0.5}])
    assert finder.sizes == [(300, 300), (100, 100)]


def test_image_without_nuclei_keeps_its_scale():
    zoom, predictions = ScaledModel(Finder(), 24, 4096).search([sample_of(0)])
    assert zoom == 1
    assert len(predictions[0].nuclei) == 0
