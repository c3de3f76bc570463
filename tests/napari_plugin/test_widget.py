"""The widget in the real napari, with mouse and keyboard."""

import json

import numpy as np
import pytest
import tifffile

from dsb2018 import Predictor
from dsb2018.commands.main import main
from dsb2018.inference.measurements import measure_nuclei
from dsb2018.napari_plugin import samples
from tests.inference.drawing import micrograph
from tests.napari_plugin.test_layer_images import image_of

pytest.importorskip("napari")
qt = pytest.importorskip("qtpy.QtCore")
QTest = pytest.importorskip("qtpy.QtTest").QTest
QTableView = pytest.importorskip("qtpy.QtWidgets").QTableView
mouse = pytest.importorskip("tests.napari_plugin.mouse")
Qt, LEFT, press = qt.Qt, mouse.LEFT, mouse.press


def segment(widget, wait):
    before = widget.result
    press(widget.image_panel.run)
    wait(lambda: widget.result is not before and widget._worker is None)
    return widget.result


def settled(widget):
    """Whether the nuclei of all planes are found for the values of the controls."""
    return not widget._pause.isActive() and widget._finder is None


def centers(labels):
    return {
        int(label): np.argwhere(labels == label).mean(axis=0) for label in np.unique(labels)[1:]
    }


def stop_network(widget, monkeypatch):
    """Makes every further run of the network fail."""

    def fail(*args, **kwargs):
        raise AssertionError("the network runs again")

    model = widget._predictor[1]._model
    monkeypatch.setattr(model._model, "predict_maps", fail)
    monkeypatch.setattr(model._model, "_outputs", fail)


def test_nuclei_are_those_of_predict(viewer, widget, wait):
    viewer.open_sample("dsb2018", "fluorescence")
    result = segment(widget, wait)
    pixels = viewer.layers["fluorescence"].data
    nuclei = Predictor("nuclei_fast")(pixels)
    assert np.array_equal(result.labels.data, nuclei.labels)
    assert result.labels.name == "nuclei of fluorescence"
    columns = measure_nuclei(nuclei, image_of(pixels, "YX"))
    features = result.labels.features
    assert len(features) == len(nuclei) + 1
    assert features["area"][1:].tolist() == columns["area"].tolist()
    assert features["intensity_mean"][1:].tolist() == columns["intensity_mean"].tolist()
    assert widget.status.text().startswith(f"{len(nuclei)} nuclei, median diameter")


def test_threshold_and_area_by_keyboard(viewer, widget, wait, monkeypatch):
    viewer.open_sample("dsb2018", "fluorescence")
    result = segment(widget, wait)
    pixels = viewer.layers["fluorescence"].data
    stop_network(widget, monkeypatch)
    slider = widget.adjust_panel.threshold
    assert slider.value() == 50
    slider.setFocus()
    for _ in range(40):
        QTest.keyClick(slider, Qt.Key.Key_Right)
    assert slider.value() == 90
    wait(lambda: settled(widget))
    expected = Predictor("nuclei_fast", threshold=0.9)(pixels)
    assert np.array_equal(result.labels.data, expected.labels)
    assert result.labels.features["area"][1:].tolist() == expected.areas.tolist()

    least = widget.adjust_panel.least
    least.setFocus()
    QTest.keyClick(least, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(least, "300")
    QTest.keyClick(least, Qt.Key.Key_Return)
    wait(lambda: settled(widget))
    kept = expected.areas[expected.areas >= 300]
    assert 0 < len(kept) < len(expected)
    assert result.labels.features["area"][1:].tolist() == kept.tolist()

    least.setValue(0)
    press(widget.adjust_panel.exclude_border)
    wait(lambda: settled(widget))
    inner = [crop.area for crop in expected.crops if not expected.at_border(crop)]
    assert 0 < len(inner) < len(expected)
    assert result.labels.features["area"][1:].tolist() == inner


def test_each_result_keeps_its_criteria(viewer, widget, wait):
    viewer.add_image(micrograph((160, 160), 1)[0], name="a")
    first = segment(widget, wait)
    widget.adjust_panel.threshold.setValue(80)
    widget.adjust_panel.least.setValue(200)
    wait(lambda: settled(widget))
    pixels = viewer.add_image(micrograph((160, 160), 2)[0], name="b").data
    second = segment(widget, wait)  # with the same threshold and area
    expected = Predictor("nuclei_fast", threshold=0.8)(pixels).areas
    assert second.labels.features["area"][1:].tolist() == expected[expected >= 200].tolist()
    widget.adjust_panel.threshold.setValue(60)
    wait(lambda: settled(widget))
    viewer.layers.selection.active = first.labels
    assert widget.result is first
    assert widget.adjust_panel.threshold.value() == 80
    before = second.labels.data.copy()
    widget.adjust_panel.threshold.setValue(30)
    wait(lambda: settled(widget))
    assert first.criteria.threshold == 0.3
    assert np.array_equal(second.labels.data, before)
    widget.image_panel.model.setCurrentText("simple_cnn")  # has a threshold of its own
    third = segment(widget, wait)
    assert third.criteria.threshold == Predictor("simple_cnn").threshold
    assert third.criteria.selection.least.value == 200


def test_stack_equals_predict(viewer, widget, wait, tmp_path):
    pixels = samples.stack()[0][0]
    tifffile.imwrite(tmp_path / "stack.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    arguments = ["--input", str(tmp_path / "stack.tif"), "--output", str(tmp_path / "results")]
    assert main(["predict", *arguments, "--model", "fast", "--threshold", "0.7"]) == 0
    expected = tifffile.imread(tmp_path / "results" / "labels" / "stack.tif")

    viewer.open_sample("dsb2018", "stack")
    assert widget.image_panel.axes.currentText() == "ZYX"
    result = segment(widget, wait)
    widget.adjust_panel.threshold.setValue(70)
    wait(lambda: settled(widget))
    assert np.array_equal(result.labels.data, expected)
    assert tuple(result.labels.scale) == (2.0, 0.5, 0.5)
    volumes = result.labels.features["volume_um3"][1:]
    assert volumes.tolist() == (np.bincount(expected.ravel())[1:] * 0.5).tolist()


def test_the_shown_slice_changes_at_once(viewer, widget, wait):
    viewer.open_sample("dsb2018", "stack")
    result = segment(widget, wait)
    viewer.dims.set_point(0, 2 * 6.0)  # the seventh slice
    before = result.labels.data.copy()
    widget._finder = None
    widget._adjust_shown_plane(result, widget.adjust_panel.criteria._replace(threshold=0.95))
    changed = [z for z in range(9) if not np.array_equal(before[z] > 0, result.labels.data[z] > 0)]
    assert changed == [6]


def test_time_points_have_labels_of_their_own(viewer, widget, wait):
    frames = np.stack([micrograph((100, 120), seed)[0] for seed in range(3)])
    viewer.add_image(frames, name="movie", axis_labels=("t", "y", "x"))
    assert widget.image_panel.axes.currentText() == "TYX"
    result = segment(widget, wait)
    expected = [Predictor("nuclei_fast")(frame).labels for frame in frames]
    last = 0
    for t, labels in enumerate(expected):
        shifted = np.where(labels > 0, labels + last, 0)
        assert np.array_equal(result.labels.data[t], shifted)
        last += labels.max()
    features = result.labels.features
    assert (
        features["time"][1:].tolist() == np.repeat(range(3), [e.max() for e in expected]).tolist()
    )


@pytest.mark.parametrize(("axes", "shape"), [("CZYX", (3, 90, 100)), ("ZCYX", (3, 1, 90, 100))])
def test_channels(viewer, widget, wait, axes, shape):
    nuclei = np.stack([micrograph((90, 100), seed)[0] for seed in range(3)])
    channels = [np.zeros_like(nuclei), nuclei]
    pixels = np.stack(channels, axis=axes.index("C"))
    viewer.add_image(pixels, name="channels", axis_labels=tuple(axes.lower()), scale=(1, 1, 2, 2))
    assert widget.image_panel.axes.currentText() == axes
    assert widget.image_panel.channel.count() == 2
    widget.image_panel.channel.setCurrentText("1")
    result = segment(widget, wait)
    assert result.labels.data.shape == shape
    assert result.labels.data.max() > 0
    if axes == "ZCYX":  # it is shown at the nuclear channel only
        assert tuple(result.labels.translate) == (0, 1, 0, 0)
        assert result.labels.extent.data[0][1] == result.labels.extent.data[1][1] == 0


def test_multiscale_and_units(viewer, widget, wait):
    pixels, _ = micrograph((200, 240))
    layer = viewer.add_image(
        [pixels, pixels[::2, ::2]], multiscale=True, scale=(0.25, 0.25), units=("um", "um")
    )
    layer.name = "renamed"
    assert widget.image_panel.image.currentText() == "renamed"
    result = segment(widget, wait)
    assert result.labels.data.shape == (200, 240)
    features = result.labels.features
    assert np.allclose(features["area_um2"][1:], features["area"][1:] / 16)


def test_stains_of_a_section(viewer, widget, wait):
    viewer.open_sample("dsb2018", "histology")
    assert widget.image_panel.channel.currentText() == "colors"
    pixels = viewer.layers["section"].data
    result = segment(widget, wait)
    assert np.array_equal(result.labels.data, Predictor("nuclei_fast")(pixels).labels)
    widget.image_panel.channel.setCurrentText("hematoxylin")
    other = segment(widget, wait)
    assert not np.array_equal(other.labels.data, result.labels.data)
    widget.image_panel.channel.setCurrentText("red")
    assert segment(widget, wait).channel.fixed == {"S": 0}


def test_table_and_nuclei_select_each_other(viewer, widget, wait):
    viewer.open_sample("dsb2018", "fluorescence")
    result = segment(widget, wait)
    viewer.layers.selection.active = result.labels
    QTest.qWait(300)  # the layout changes
    (table,) = viewer.window._qt_window.findChildren(QTableView)
    assert table.isVisible()
    assert table.model().rowCount() == result.labels.data.max() + 1

    label, (y, x) = list(centers(result.labels.data).items())[9]
    viewer.reset_view()
    QTest.mouseClick(mouse.canvas_of(viewer), LEFT, pos=mouse.on_canvas(viewer, y, x))
    wait(lambda: result.labels.selected_label == label, 5)
    assert {index.row() for index in table.selectionModel().selectedRows()} == {label}

    viewer.camera.zoom *= 6
    target, (y, x) = next(iter(centers(result.labels.data).items()))
    viewer.camera.center = (0, 200, 200)
    wait(lambda: result.labels.corner_pixels[0][0] > 100, 5)
    table.selectRow(target)
    assert result.labels.selected_label == target
    assert viewer.camera.center[-2:] == pytest.approx((y, x), abs=0.01)


def test_a_row_of_a_stack_shows_its_slice(viewer, widget, wait):
    pixels = np.zeros((12, 100, 100), np.uint8)
    pixels[1:4], pixels[8:11] = micrograph((100, 100))[0], micrograph((100, 100), 1)[0]
    viewer.add_image(pixels, name="two layers")
    result = segment(widget, wait)
    upper = int(result.labels.features["first_slice"].idxmax())
    viewer.dims.set_point(0, 2)
    result.labels.selected_label = upper
    first, last = result.labels.features.loc[upper, ["first_slice", "last_slice"]]
    assert first <= viewer.dims.point[0] <= last
    assert first >= 7


def test_corrections_are_saved_and_prepared(viewer, widget, wait, tmp_path):
    viewer.open_sample("dsb2018", "fluorescence")
    result = segment(widget, wait)
    press(widget.correction_panel.save)
    assert widget.status.text() == "Choose a folder for the corrections first."

    label, (y, x) = list(centers(result.labels.data).items())[9]
    count = result.labels.data.max()
    viewer.reset_view()
    viewer.layers.selection.active = result.labels
    result.labels.mode = "fill"
    result.labels.selected_label = 0  # erases a nucleus
    QTest.mouseClick(mouse.canvas_of(viewer), LEFT, pos=mouse.on_canvas(viewer, y, x))
    wait(lambda: result.is_corrected, 5)
    assert label not in result.labels.data
    assert not widget.adjust_panel.threshold.isEnabled()
    before = result.labels.data.copy()
    widget.adjust()  # would replace the correction
    assert np.array_equal(result.labels.data, before)

    press(widget.adjust_panel.measure)
    wait(lambda: "measured as they are now" in widget.status.text())
    assert np.isnan(result.labels.features["area"][label])
    assert result.labels.features["area"].count() == count - 1

    widget.correction_panel.folder.setText(str(tmp_path / "mine"))
    press(widget.correction_panel.save)
    assert widget.status.text() == "fluorescence saved; 1 corrections"
    saved = tifffile.imread(tmp_path / "mine" / "masks" / "fluorescence.tif")
    assert np.array_equal(saved > 0, before > 0)
    assert saved.max() == count - 1
    image = tifffile.imread(tmp_path / "mine" / "images" / "fluorescence.tif")
    assert np.array_equal(image, viewer.layers["fluorescence"].data)

    data = tmp_path / "data"
    arguments = ["--input", str(tmp_path / "mine"), "--name", "mine", "--output", str(data)]
    assert main(["prepare", *arguments]) == 0
    (annotations,) = data.rglob("*mine*.json")
    assert len(json.loads(annotations.read_text())["annotations"]) == count - 1


def test_a_corrected_slice_is_saved(viewer, widget, wait, tmp_path):
    viewer.open_sample("dsb2018", "stack")
    result = segment(widget, wait)
    viewer.dims.set_point(0, 2 * 3.0)
    widget.correction_panel.folder.setText(str(tmp_path))
    press(widget.correction_panel.save)
    saved = tifffile.imread(tmp_path / "masks" / "stack_z0003.tif")
    assert np.array_equal(saved > 0, result.labels.data[3] > 0)


def test_a_plane_without_nuclei_is_not_saved(viewer, widget, wait, tmp_path):
    viewer.open_sample("dsb2018", "fluorescence")
    result = segment(widget, wait)
    result.labels.data = np.zeros_like(result.labels.data)
    widget.correction_panel.folder.setText(str(tmp_path))
    press(widget.correction_panel.save)
    assert widget.status.text() == "there are no nuclei in this plane"


def test_cancel(viewer, widget, wait):
    frames = np.stack([micrograph((200, 200), seed)[0] for seed in range(40)])
    viewer.add_image(frames, name="many")
    press(widget.image_panel.run)
    assert not widget.image_panel.run.isEnabled()
    wait(lambda: widget.image_panel.progress.value() > 0)
    press(widget.image_panel.cancel)
    wait(lambda: widget._worker is None)
    assert widget.result is None
    assert widget.status.text() == "Canceled"
    assert widget.image_panel.run.isEnabled()
    assert len(viewer.layers) == 1


def test_a_layer_that_is_removed(viewer, widget, wait):
    viewer.open_sample("dsb2018", "fluorescence")
    segment(widget, wait)
    viewer.layers.clear()
    assert widget.result is None
    assert not widget.image_panel.run.isEnabled()
    assert not widget.adjust_panel.isEnabled()
    assert not widget.correction_panel.save.isEnabled()


def test_errors_are_shown(viewer, widget, wait):
    viewer.add_image(np.full((20, 20), np.nan), name="nothing")
    press(widget.image_panel.run)
    wait(lambda: widget._worker is None)
    assert "NaN" in widget.status.text()
    widget.image_panel.offer_model("missing.onnx")
    press(widget.image_panel.run)
    wait(lambda: widget._worker is None)
    assert "missing.onnx: no such file" in widget.status.text()
    viewer.add_image(np.zeros((1, 2, 1, 2, 8, 8)), name="six")
    assert "6 axes, expected 2 to 5" in widget.status.text()
