"""Measures the diameter of a nucleus with a line that the user draws."""

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer

NAME = "diameter: draw a line across a nucleus"


def draw_line(viewer: Any, layer: Any, on_length: Callable[[float], None]) -> None:
    """Adds a layer on which the user draws a line. It is removed afterwards.

    Args:
        viewer: of napari.
        layer: the image layer, whose pixels are the unit.
        on_length: is called with the length of the line, pixels.
    """
    for old in [old for old in viewer.layers if old.name == NAME]:
        viewer.layers.remove(old)
    lines = viewer.add_shapes(
        ndim=2,
        name=NAME,
        scale=layer.scale[-2:],
        translate=layer.translate[-2:],
        units=layer.units[-2:],
        edge_color="#ffb000",
        edge_width=2,
    )
    lines.mode = "add_line"

    def read(event: Any) -> None:
        if str(event.action) != "added" or not lines.data:
            return
        length = float(np.linalg.norm(np.subtract(*lines.data[0])))
        QTimer.singleShot(0, lambda: lines in viewer.layers and viewer.layers.remove(lines))
        viewer.layers.selection.active = layer
        if length:
            on_length(length)

    lines.events.data.connect(read)
