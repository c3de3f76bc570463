"""Image layers of napari as images of this package, and the place of label layers in the viewer."""

from pathlib import Path
from typing import Any

import numpy as np

from dsb2018.images.axes import MICROMETRES, understand_axes
from dsb2018.images.microscopy_image import MicroscopyImage

MOST_CHANNELS = 6  # an axis of at most this length is likely to be that of the channels
# {number of axes: what they may be}. The likeliest is first, if no axis is short.
POSSIBLE_AXES = {
    2: ("YX",),
    3: ("ZYX", "TYX", "CYX"),
    4: ("TZYX", "ZCYX", "TCYX", "CZYX", "CTYX"),
    5: ("TZCYX", "TCZYX", "CTZYX"),
}
POSSIBLE_COLOR_AXES = {2: ("YXS",), 3: ("ZYXS", "TYXS"), 4: ("TZYXS",)}


def possible_axes(layer: Any) -> tuple[str, ...]:
    """Returns what the axes of an image layer may be, the likeliest first.

    Args:
        layer: an image layer of napari; S is the axis of red, green and blue.

    Raises:
        ValueError: the layer has too many axes.
    """
    count = layer.ndim
    choices = (POSSIBLE_COLOR_AXES if layer.rgb else POSSIBLE_AXES).get(count)
    if not choices:
        raise ValueError(f"{layer.name}: {count} axes, expected 2 to {max(POSSIBLE_AXES)}")
    named = "".join(label[:1].upper() for label in layer.axis_labels) + ("S" if layer.rgb else "")
    shape = _pixels(layer).shape
    lengths = dict(zip(range(count), shape, strict=False))

    def rank(axes: str) -> tuple[bool, bool]:
        channel = axes.find("C")
        shortest = min(lengths, key=lengths.__getitem__)
        is_plausible = (
            channel == shortest and lengths[channel] <= MOST_CHANNELS
            if channel >= 0
            else lengths[shortest] > MOST_CHANNELS
        )
        return axes != named, not is_plausible

    return tuple(sorted(choices, key=rank))


def open_layer(layer: Any, axes: str) -> MicroscopyImage:
    """Returns an image layer as an image. The pixels are not copied.

    Args:
        layer: an image layer of napari. Of a multiscale image, the full resolution counts.
        axes: one of `possible_axes`.

    Raises:
        ValueError: the axes do not fit the layer.
    """
    pixels = _pixels(layer)
    path = Path(str(layer.source.path or layer.name))
    letters, fixed = understand_axes(axes, pixels.shape, path)
    spatial = axes.replace("S", "")
    units = [MICROMETRES.get(str(unit), 0.0) for unit in layer.units]
    lengths = dict(zip(spatial, np.abs(layer.scale) * units, strict=True))
    return MicroscopyImage(
        layer.name,
        path,
        pixels,
        letters,
        fixed,
        pixel_size=(lengths["Y"], lengths["X"]) if lengths["Y"] and lengths["X"] else None,
        slice_distance=lengths.get("Z") or None,
    )


def place_labels(layer: Any, axes: str, channel: int | None) -> dict[str, Any]:
    """Returns the options of a label layer that lies on an image layer.

    The label layer has no channel axis if that of the image is its first axis. Otherwise, the axis
    has one position: that of the nuclear channel.

    Args:
        layer: the image layer.
        axes: its axes.
        channel: index of the nuclear channel; None: the image has no channel axis.
    """
    first = 1 if axes.startswith("C") else 0
    translate = np.array(layer.translate, np.float64)
    if "C" in axes[1:]:
        index = axes.index("C")
        translate[index] += layer.scale[index] * (channel or 0)
    return {
        "scale": layer.scale[first:],
        "translate": translate[first:],
        "rotate": layer.rotate[first:, first:],
        "affine": layer.affine.affine_matrix[first:, first:],
        "units": layer.units[first:],
        "axis_labels": layer.axis_labels[first:],
    }


def label_shape(image: MicroscopyImage) -> tuple[int, ...]:
    """Returns the shape of the label layer of an image layer, see `place_labels`."""
    axes = image.axes.replace("S", "")
    first = 1 if axes.startswith("C") else 0
    return tuple(1 if axis == "C" else image.length(axis) for axis in axes[first:])


def _pixels(layer: Any) -> Any:
    return layer.data[0] if layer.multiscale else layer.data
