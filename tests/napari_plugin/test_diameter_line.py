"""Drawing the diameter, with the mouse."""

import numpy as np
import pytest

from dsb2018 import Predictor
from tests.inference.drawing import micrograph

pytest.importorskip("napari")
qt = pytest.importorskip("qtpy.QtCore")
QTest = pytest.importorskip("qtpy.QtTest").QTest
mouse = pytest.importorskip("tests.napari_plugin.mouse")
Qt, QPoint = qt.Qt, qt.QPoint


@pytest.fixture
def image(viewer, widget):
    layer = viewer.add_image(micrograph((120, 120))[0], name="small", scale=(0.5, 0.5))
    QTest.qWait(300)  # the layout changes
    viewer.reset_view()
    return layer


def draw(viewer, start, end, button=mouse.LEFT):
    for _ in mouse.drag(viewer, start, end, button):
        pass


def test_diameter_is_drawn(viewer, widget, wait, image):
    mouse.press(widget.image_panel.draw)
    view = viewer.camera.center
    draw(viewer, (10, 10), (10, 22))  # 24 pixels
    diameter = widget.image_panel.diameter.value()
    assert diameter == pytest.approx(24, abs=0.6)
    assert viewer.camera.center == view
    assert not widget.image_panel.draw.isChecked()
    assert list(viewer.layers) == [image]

    draw(viewer, (10, 10), (30, 30))  # moves the view as ever
    assert viewer.camera.center != view
    assert widget.image_panel.diameter.value() == diameter

    mouse.press(widget.image_panel.run)
    wait(lambda: widget.result is not None and widget._worker is None)
    expected = Predictor("nuclei_fast", diameter=diameter)(image.data)
    assert np.array_equal(widget.result.labels.data, expected.labels)


def test_line_is_seen_while_it_is_drawn(viewer, widget, wait, image):
    canvas = mouse.canvas_of(viewer)
    before = set(canvas.children())
    mouse.press(widget.image_panel.draw)
    steps = mouse.drag(viewer, (10, 10), (40, 50))
    next(steps)
    (line,) = set(canvas.children()) - before
    assert line.isVisible()
    picture = line.grab().toImage()
    middle = mouse.on_canvas(viewer, 25, 30)
    assert picture.pixelColor(middle).hue() == pytest.approx(41, abs=4)  # orange
    assert picture.pixelColor(middle + QPoint(0, 20)).hue() > 100  # the background
    assert widget.image_panel.diameter.value() == pytest.approx(100, abs=1)
    assert list(steps) == []
    wait(lambda: set(canvas.children()) == before, 5)


def test_clicks_and_other_buttons_draw_nothing(viewer, widget, image):
    button, diameter = widget.image_panel.draw, widget.image_panel.diameter
    mouse.press(button)
    draw(viewer, (10, 10), (10, 10))
    draw(viewer, (10, 10), (20, 20), Qt.MouseButton.RightButton)
    assert button.isChecked()
    mouse.press(button)
    assert not button.isChecked()
    view = viewer.camera.center
    draw(viewer, (10, 10), (30, 30))
    assert viewer.camera.center != view
    assert diameter.value() == 0


def test_button_without_an_image(widget):
    mouse.press(widget.image_panel.draw)
    assert not widget.image_panel.draw.isChecked()


def test_units_are_pixels_of_the_shown_plane(viewer, widget):
    pixels = np.stack([micrograph((60, 80))[0]] * 4)
    viewer.add_image(pixels, scale=(5, 0.25, 0.25), translate=(0, 7, 9))
    viewer.dims.ndisplay = 3
    QTest.qWait(300)
    mouse.press(widget.image_panel.draw)
    assert viewer.dims.ndisplay == 2
    QTest.qWait(100)
    viewer.reset_view()
    draw(viewer, (10, 12), (10, 17))
    assert widget.image_panel.diameter.value() == pytest.approx(20, abs=0.5)
