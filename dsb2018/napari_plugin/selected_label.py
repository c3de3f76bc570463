"""Links the selected label, the table of measurements and the view."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMainWindow

from dsb2018.napari_plugin.result import Result

TABLE = "Features table widget"  # of napari; it selects labels, and shows the selected one
PLACED = "placed by dsb2018"  # property of the dock of the table


def show_table(viewer: Any) -> None:
    """Opens napari's table of the measurements below the image."""
    dock, _ = viewer.window.add_plugin_dock_widget("napari", TABLE)
    window = dock.window()
    if isinstance(window, QMainWindow) and not dock.property(PLACED):
        window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
        dock.setProperty(PLACED, True)  # the user may move it then


def select_on_click(layer: Any, event: Any) -> Iterator[None]:
    """Selects the nucleus that is clicked on, in the mode in which the image is moved and zoomed.

    It is a callback for the mouse of a label layer.
    """
    is_click = layer.mode == "pan_zoom"
    yield
    while event.type == "mouse_move":
        is_click = False
        yield
    value = layer.get_value(event.position, world=True)
    if is_click and value:
        layer.selected_label = int(value)


def show_selected(viewer: Any, result: Result) -> None:
    """Moves the view to the selected nucleus, if it is not shown."""
    labels = result.labels
    position = result.world_position(labels.selected_label)
    if position is None or labels.mode != "pan_zoom":
        return
    index = np.round(labels.world_to_data(position)).astype(int)
    shown = np.round(labels.world_to_data(viewer.dims.point)).astype(int)
    if (shown[:-2] != index[:-2]).any():
        offset = viewer.dims.ndim - len(position)
        for axis, value in enumerate(position[:-2]):
            viewer.dims.set_point(axis + offset, value)
    top_left, bottom_right = labels.corner_pixels[:, -2:]
    if (index[-2:] < top_left).any() or (index[-2:] > bottom_right).any():
        viewer.camera.center = tuple(position[-2:])
