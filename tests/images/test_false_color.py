"""Tests of fluorescence images that were saved in color."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dsb2018 import Predictor
from dsb2018.images.false_color import is_false_color, only_stain
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.images.nuclear_channel import choose_nuclear_channel
from dsb2018.images.pixels import read_dataset_image
from dsb2018.inference.appearance import Appearance
from dsb2018.inference.doubts import find_doubts
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei

NOISE = np.random.default_rng(0)


def disks(offset: int = 0) -> np.ndarray:
    """Returns (128, 128) float bright disks on a dark background, 0 to 1."""
    picture = np.zeros((128, 128), np.float32)
    for y in range(20, 128, 40):
        for x in range(20, 128, 40):
            cv2.circle(picture, (x + offset, y), 10, 0.9, -1)
    return cv2.GaussianBlur(picture, (0, 0), 2) + NOISE.uniform(0, 0.05, picture.shape)


def tint(picture: np.ndarray, *color: float) -> np.ndarray:
    return (picture[..., None] * np.array(color) * 255).astype(np.uint8)


BLUE = tint(disks(), 0, 0, 1)
TWO_STAINS = np.dstack([disks(18), disks() * 0, disks()]) * 250
SECTION = 255 - tint(disks(), 0.3, 0.7, 0.2)


@pytest.mark.parametrize(
    ("picture", "is_colored", "channel"),
    [
        (BLUE, True, 2),
        (tint(disks(), 0, 1, 0.6), True, 1),
        (BLUE.astype(np.uint16) * 200, True, 2),
        (BLUE + np.array([5, 5, 5], np.uint8), True, 2),
        (TWO_STAINS, True, None),
        (tint(disks(), 1, 1, 1), False, None),
        (SECTION, False, None),
        (np.zeros((9, 9, 3)), False, None),
        (np.full((9, 9, 3), np.nan), False, None),
        (np.full((9, 9, 3), np.inf), False, None),
    ],
    ids=[
        "blue",
        "cyan",
        "uint16",
        "background",
        "stains",
        "gray",
        "section",
        "black",
        "nan",
        "inf",
    ],
)
def test_false_color(picture, is_colored, channel):
    assert is_false_color(picture) == is_colored
    assert only_stain(picture) == channel


def test_blue_is_the_same_as_gray():
    """The nuclei are those of the gray image, from an array and from a file."""
    gray = np.ascontiguousarray(BLUE[..., 2])
    predictor = Predictor()
    expected = predictor(gray).labels
    assert expected.max() == 9
    assert np.array_equal(predictor(BLUE).labels, expected)
    chosen = choose_nuclear_channel(MicroscopyImage("a", Path("a"), BLUE, "YXS"), None)
    assert chosen.fixed == {"S": 2}
    stack = MicroscopyImage("a", Path("a"), np.stack([BLUE * 0, BLUE, BLUE * 0]), "ZYXS")
    assert choose_nuclear_channel(stack, None).fixed == {"S": 2}  # by the middle slice


def test_training_sees_the_same_gray_values(tmp_path):
    path = tmp_path / "blue.png"
    cv2.imwrite(str(path), BLUE[..., ::-1])
    dataset_dict = {"file_name": str(path), "height": 128, "width": 128}
    assert np.array_equal(read_dataset_image(dataset_dict), BLUE[..., 2:])
    cv2.imwrite(str(path), SECTION[..., ::-1])
    assert np.array_equal(read_dataset_image(dataset_dict), SECTION)


def test_several_stains_are_reported():
    labels = (cv2.threshold(disks(), 0.5, 1, cv2.THRESH_BINARY)[1] > 0).astype(np.int32)
    image = MicroscopyImage("a", Path("a"), TWO_STAINS.astype(np.uint8), "YXS")
    assert choose_nuclear_channel(image, None) is image
    for channel, warning in (
        (image, "several colors on black: name the nuclear channel with --channel"),
        (choose_nuclear_channel(image, "2"), ""),
    ):
        appearance = Appearance(Nuclei.from_labels(labels), channel, GreyRange(0, 255))
        assert find_doubts(0.95, 20, appearance) == warning


@pytest.mark.parametrize(("height", "width"), [(30, 40), (256, 300), (3000, 700)])
def test_sample_has_pixels_from_all_parts(height, width):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[-1, -1] = 7
    sample = MicroscopyImage("a", Path("a"), pixels, "YXS").sample()
    assert sample.shape[1:] == (1, 3)
    assert len(sample) <= max(height * width * 4, 16 * 256**2)
    assert (sample == 7).any()
