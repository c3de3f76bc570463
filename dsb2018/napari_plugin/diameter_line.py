"""Measures the diameter of a nucleus with a line that the user draws."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QApplication, QWidget

LEFT = 1  # button, in events of napari
LEAST_LENGTH = 1  # pixels of the image; less is a click
EDGE, LINE = QPen(QColor("black"), 4), QPen(QColor("#ffb000"), 2)


class DiameterLine:
    """Measures lines that are drawn on the canvas.

    The line is no layer of napari: with some drivers, the canvas crashes when a layer of shapes has
    been removed (https://github.com/napari/napari/issues/6472).

    Args:
        viewer: of napari.
        on_length: is called with the length of the line while it is drawn, in pixels of the image.
        on_end: is called when the line is finished.
    """

    def __init__(self, viewer: Any, on_length: Callable[[float], None], on_end: Callable[[], None]):
        self._viewer, self._on_length, self._on_end = viewer, on_length, on_end
        self._layer: Any = None

    def start(self, layer: Any) -> None:
        """Lets the next drag of the mouse draw a line on an image layer."""
        self.stop()
        self._layer = layer
        self._viewer.layers.selection.active = layer
        self._viewer.dims.ndisplay = 2
        self._viewer.cursor.style = "cross"
        self._viewer.mouse_drag_callbacks.append(self._drag)

    def stop(self) -> None:
        """Gives the mouse back."""
        if self._layer is not None:
            self._layer = None
            self._viewer.cursor.style = "standard"
            self._viewer.mouse_drag_callbacks.remove(self._drag)

    def _drag(self, _: Any, event: Any) -> Iterator[None]:
        if event.button != LEFT:
            return
        layer = self._layer
        start = np.array(layer.world_to_data(event.position))
        canvas = QApplication.widgetAt(event.native.globalPosition().toPoint())
        line = _LineOnCanvas(canvas, event.pos)
        event.handled = True  # the view stays where it is
        yield
        while True:
            line.stretch_to(event.pos)
            length = float(np.linalg.norm(layer.world_to_data(event.position) - start))
            if length >= LEAST_LENGTH:
                self._on_length(length)
            event.handled = True
            if event.type == "mouse_release":
                break
            yield
        line.deleteLater()
        if length >= LEAST_LENGTH:
            self.stop()
            self._on_end()


class _LineOnCanvas(QWidget):
    """A line over the canvas. Its ends are x, y in pixels of the canvas."""

    def __init__(self, canvas: QWidget, start: Sequence[float]):
        super().__init__(canvas)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setGeometry(canvas.rect())
        self._start = self._end = QPointF(*start)
        self.show()

    def stretch_to(self, end: Sequence[float]) -> None:
        self._end = QPointF(*end)
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for pen in (EDGE, LINE):
            painter.setPen(pen)
            painter.drawLine(self._start, self._end)
        painter.end()
