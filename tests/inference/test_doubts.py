"""Tests of the warnings about images of unknown kinds."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from skimage.data import coins, immunohistochemistry

from dsb2018 import Predictor
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.appearance import Appearance
from dsb2018.inference.doubts import find_doubts
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei


def make_image(pixels: np.ndarray) -> MicroscopyImage:
    return MicroscopyImage("a", Path("a"), pixels, "YXS")


@pytest.mark.parametrize(
    ("score", "diameter", "background", "warning"),
    [
        (0.95, 20, 0.1, ""),
        (0.9, 6, np.nan, ""),
        (0.89, 20, 0.1, "low confidence"),
        (0.95, 5, 0.1, "nuclei of 5 pixels"),
        (0.95, 20, 0.22, "bright background"),
        (0.5, 120.4, 0.3, "low confidence, nuclei of 120 pixels, bright background"),
        (np.nan, np.nan, np.nan, "no nuclei"),
    ],
)
def test_doubts(score, diameter, background, warning):
    appearance = SimpleNamespace(
        background=lambda: background, is_brown=lambda: False, has_several_stains=lambda: False
    )
    assert find_doubts(score, diameter, appearance) == warning


@pytest.mark.parametrize(
    ("background", "expected"),
    [([60], 0.2), ([60, 60, 60], 0.2), ([200, 60, 60], np.nan)],
    ids=["one channel", "gray RGB", "colored"],
)
def test_background_brightness(background, expected):
    labels = np.zeros((20, 20), np.int32)
    labels[5:9, 5:9] = 1
    pixels = np.where(labels[..., None] > 0, 250, background).astype(np.uint8)
    image, grey_range = make_image(pixels), GreyRange(20, 220)
    appearance = Appearance(Nuclei.from_labels(labels), image, grey_range)
    assert appearance.background() == pytest.approx(expected, nan_ok=True)
    assert appearance.is_brown() == np.isnan(expected)  # only the colored picture
    nothing = Appearance(Nuclei.from_labels(labels * 0), image, grey_range)
    assert np.isnan(nothing.background())


@pytest.mark.parametrize(
    ("photo", "warning"),
    [
        (coins, "bright background"),
        (immunohistochemistry, "low confidence, brown stain: try --channel hematoxylin"),
    ],
)
def test_photos(photo, warning):
    """Photos that are part of scikit-image."""
    pixels = photo()
    nuclei = Predictor()(pixels)
    image = make_image(pixels if pixels.ndim == 3 else pixels[..., None])
    appearance = Appearance(nuclei, image, GreyRange(0, 255))
    diameter = np.median(2 * np.sqrt(nuclei.areas / np.pi))
    assert find_doubts(np.median(nuclei.scores), diameter, appearance) == warning
