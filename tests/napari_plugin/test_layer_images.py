"""The axes of layers."""

from pathlib import Path

import numpy as np
import pytest

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.napari_plugin.layer_images import (
    label_shape,
    open_layer,
    place_labels,
    possible_axes,
)

layers = pytest.importorskip("napari.layers")


def image_of(pixels, axes):
    return MicroscopyImage("a", Path("a"), pixels, axes)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((40, 50), {}, "YX"),
        ((40, 50, 3), {"rgb": True}, "YXS"),
        ((20, 40, 50), {}, "ZYX"),
        ((3, 40, 50), {}, "CYX"),
        ((3, 40, 50), {"axis_labels": ("z", "y", "x")}, "ZYX"),
        ((20, 40, 50), {"axis_labels": ("time", "y", "x")}, "TYX"),
        ((20, 40, 50, 3), {"rgb": True}, "ZYXS"),
        ((20, 40, 50, 3), {"rgb": True, "axis_labels": ("t", "y", "x")}, "TYXS"),
        ((20, 10, 40, 50), {}, "TZYX"),
        ((20, 3, 40, 50), {}, "ZCYX"),
        ((3, 20, 40, 50), {}, "CZYX"),
        ((8, 20, 3, 40, 50), {}, "TZCYX"),
        ((8, 3, 20, 40, 50), {}, "TCZYX"),
        ((3, 8, 20, 40, 50), {}, "CTZYX"),
    ],
)
def test_likeliest_axes(shape, options, expected):
    layer = layers.Image(np.zeros(shape, np.uint8), **options)
    choices = possible_axes(layer)
    assert choices[0] == expected
    assert len(choices) == len(set(choices))


def test_sizes_and_channels():
    layer = layers.Image(
        np.zeros((8, 3, 40, 50)), scale=(2, 1, 0.5, 0.25), units=("um", "pixel", "um", "um")
    )
    image = open_layer(layer, "ZCYX")
    assert image.pixel_size == (0.5, 0.25)
    assert image.slice_distance == 2
    assert image.length("C") == 3
    assert label_shape(image) == (8, 1, 40, 50)
    place = place_labels(layer, "ZCYX", 2)
    assert place["translate"].tolist() == [0, 2, 0, 0]
    labels = layers.Labels(np.zeros(label_shape(image), int), **place)
    assert tuple(labels.scale) == (2, 1, 0.5, 0.25)


def test_first_channel_axis_is_dropped():
    layer = layers.Image(np.zeros((3, 8, 40, 50)), translate=(0, 5, 6, 7), scale=(1, 3, 2, 2))
    image = open_layer(layer, "CZYX")
    assert label_shape(image) == (8, 40, 50)
    labels = layers.Labels(np.zeros((8, 40, 50), int), **place_labels(layer, "CZYX", 1))
    assert tuple(labels.translate) == (5, 6, 7)
    assert tuple(labels.scale) == (3, 2, 2)


def test_sizes_in_pixels_are_unknown():
    image = open_layer(layers.Image(np.zeros((40, 50)), scale=(0.5, 0.5)), "YX")
    assert image.pixel_size is None


def test_too_many_axes():
    with pytest.raises(ValueError, match="6 axes, expected 2 to 5"):
        possible_axes(layers.Image(np.zeros((2, 2, 2, 2, 2, 2))))
