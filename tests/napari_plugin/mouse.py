"""The mouse on the canvas of napari."""

from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

LEFT = Qt.MouseButton.LeftButton


def canvas_of(viewer):
    return viewer.window._qt_viewer.canvas.native


def on_canvas(viewer, y, x):
    """Returns the place of a world position on the canvas."""
    canvas = canvas_of(viewer)
    center, zoom = viewer.camera.center[-2:], viewer.camera.zoom
    return QPoint(
        round(canvas.width() / 2 + (x - center[1]) * zoom),
        round(canvas.height() / 2 + (y - center[0]) * zoom),
    )


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, LEFT)


def drag(viewer, start, end, button=LEFT):
    """Drags from one world position (y, x) to another, in steps; yields before the release."""
    canvas, start, end = canvas_of(viewer), on_canvas(viewer, *start), on_canvas(viewer, *end)
    QTest.mousePress(canvas, button, pos=start)
    for step in range(1, 5):
        QTest.mouseMove(canvas, start + (end - start) * step / 4)
        QTest.qWait(30)
    yield
    QTest.mouseRelease(canvas, button, pos=end)
    QTest.qWait(30)
