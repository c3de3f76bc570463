"""The widget "Segment nuclei" of napari."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Image
from napari.qt.threading import create_worker
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from dsb2018.images.microscopy_image import MicroscopyImage, choose_channel
from dsb2018.images.nuclear_channel import choose_nuclear_channel
from dsb2018.images.stains import STAINS
from dsb2018.inference.corrections import count_corrections, save_correction
from dsb2018.inference.predictor import Predictor
from dsb2018.napari_plugin.diameter_line import draw_line
from dsb2018.napari_plugin.features import to_features
from dsb2018.napari_plugin.layer_images import open_layer, place_labels, possible_axes
from dsb2018.napari_plugin.panels import AdjustPanel, CorrectionPanel, ImagePanel
from dsb2018.napari_plugin.result import Result
from dsb2018.napari_plugin.segmentation import Criteria, Frame, Segmentation
from dsb2018.napari_plugin.training import (
    TrainingProcess,
    check_can_train,
    finetune_command,
    new_model_folder,
)

COLORS, MEASUREMENTS = "colors", "Features table widget"
PLACED = "placed by dsb2018"  # property of the dock of the table
PAUSE = 40  # after the last move of a slider, milliseconds
LARGEST_LIVE = 4_000_000  # pixels of a plane whose nuclei are found while a slider moves


class SegmentNuclei(QWidget):
    """Segments the nuclei of image layers, and trains models further on corrections.

    Args:
        viewer: is passed by napari.
    """

    def __init__(self, viewer: "napari.viewer.Viewer"):
        super().__init__()
        self.viewer = viewer
        self.image_panel, self.adjust_panel = ImagePanel(), AdjustPanel()
        self.correction_panel, self.status = CorrectionPanel(), QLabel()
        self.status.setWordWrap(True)
        self.result: Result | None = None
        self._predictor: tuple[tuple, Predictor] | None = None
        self._worker: Any = None  # runs the network
        self._finder: Any = None  # finds nuclei for other criteria
        self._is_writing = False
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._training = TrainingProcess(self)
        self._new_model: Path | None = None
        self._lay_out()
        self._connect()
        self._list_images()
        self._enable_panels()

    def _lay_out(self) -> None:
        content = QWidget()
        rows = QVBoxLayout(content)
        for part in (self.image_panel, self.adjust_panel, self.correction_panel, self.status):
            rows.addWidget(part)
        rows.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(content)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        bar = area.verticalScrollBar().sizeHint().width()
        area.setMinimumWidth(content.minimumSizeHint().width() + bar)
        QVBoxLayout(self).addWidget(area)

    def _connect(self) -> None:
        layers = self.viewer.layers
        for event in (layers.events.inserted, layers.events.removed, layers.events.reordered):
            event.connect(self._list_images)
        layers.selection.events.active.connect(self._follow_active_layer)
        self.image_panel.image.currentTextChanged.connect(lambda _: self._offer_axes())
        self.image_panel.axes_changed.connect(self._offer_channels)
        self.image_panel.draw_clicked.connect(self._draw_diameter)
        self.image_panel.run_clicked.connect(self.segment)
        self.image_panel.cancel_clicked.connect(self.cancel)
        self.adjust_panel.changed.connect(lambda: self._pause.start(PAUSE))
        self._pause.timeout.connect(self.adjust)
        self.adjust_panel.measure_clicked.connect(self.measure)
        self.correction_panel.save_clicked.connect(self.save)
        self.correction_panel.train_clicked.connect(self.train)
        self.correction_panel.folder_changed.connect(self._enable_panels)
        self._training.advanced.connect(self._show_iteration)
        self._training.ended.connect(self._end_training)

    # The image and its channel

    @property
    def layer(self) -> Image | None:
        """The chosen image layer."""
        name = self.image_panel.image.currentText()
        images = (layer for layer in self.viewer.layers if isinstance(layer, Image))
        return next((layer for layer in images if layer.name == name), None)

    def _list_images(self, _: Any = None) -> None:
        names = [layer.name for layer in self.viewer.layers if isinstance(layer, Image)]
        for layer in self.viewer.layers:
            layer.events.name.disconnect(self._list_images)
            layer.events.name.connect(self._list_images)
        box, chosen = self.image_panel.image, self.image_panel.image.currentText()
        box.blockSignals(True)
        box.clear()
        box.addItems(names)
        box.setCurrentText(chosen if chosen in names else (names or [""])[-1])
        box.blockSignals(False)
        if box.currentText() != chosen:
            self._offer_axes()
        if self.result and self.result.labels not in self.viewer.layers:
            self.result = None
        self._enable_panels()

    def _follow_active_layer(self, _: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if isinstance(active, Image):
            self.image_panel.image.setCurrentText(active.name)

    def _offer_axes(self) -> None:
        choices: tuple[str, ...] = ()
        if self.layer is not None:
            try:
                choices = possible_axes(self.layer)
            except ValueError as error:
                self.status.setText(str(error))
        self.image_panel.offer_axes(choices)

    def _offer_channels(self) -> None:
        axes, layer = self.image_panel.axes.currentText(), self.layer
        choices = []
        if layer is not None and "S" in axes:
            choices = [COLORS, *STAINS, "red", "green", "blue"]
        elif layer is not None and "C" in axes:
            count = open_layer(layer, axes).length("C")
            choices = [str(number) for number in range(count)]
        self.image_panel.offer_channels(choices)

    def _open_channel(self, image: MicroscopyImage) -> MicroscopyImage:
        name = self.image_panel.channel.currentText()
        if image.channel_axis is None:
            return image
        if name in ("red", "green", "blue"):
            return image.at(S=("red", "green", "blue").index(name))
        if name == COLORS:
            return choose_nuclear_channel(image, None)
        return choose_channel(image, name)

    # The network

    def segment(self) -> None:
        """Runs the network on the chosen layer, in a thread."""
        layer = self.layer
        if layer is None or self._worker is not None:
            return
        try:
            axes = self.image_panel.axes.currentText()
            image = open_layer(layer, axes)
            channel = self._open_channel(image)
        except ValueError as error:
            self.status.setText(str(error))
            return
        model = self.image_panel.model.currentText()
        result = Result(image, channel, Segmentation(image, channel), model)
        self._worker = create_worker(self._run_network, result, _ignore_errors=True)
        self._worker.yielded.connect(self.image_panel.show_progress)
        self._worker.returned.connect(lambda frames: self._show_result(result, layer, frames))
        self._worker.errored.connect(self._show_error)
        self._worker.finished.connect(self._end_network)
        self.image_panel.show_running(True)
        self.status.setText("The network runs …")
        self._worker.start()

    def cancel(self) -> None:
        """Stops the network before the next tile."""
        if self._worker is not None:
            self._worker.quit()
            self.status.setText("Canceled")

    def _run_network(self, result: Result) -> Iterator[float]:
        predictor = self._open_model(result.model)
        yield from result.segmentation.run(predictor)
        yield 1.0
        frames = []
        for frame in result.segmentation.find(Criteria()):
            frames.append(frame)
            yield 1.0
        return frames

    def _open_model(self, model: str) -> Predictor:
        key = model, self.image_panel.diameter.value()
        if self._predictor is None or self._predictor[0] != key:
            self._predictor = None  # frees the memory of the previous model first
            self._predictor = key, Predictor(model, diameter=key[1] or None)
        return self._predictor[1]

    def _end_network(self) -> None:
        self._worker = None
        self.image_panel.show_running(False)
        self._enable_panels()

    def _show_error(self, error: Exception) -> None:
        self.status.setText(str(error) or type(error).__name__)

    # The nuclei

    def _show_result(self, result: Result, layer: Image, frames: list[Frame]) -> None:
        axes, channel = self.image_panel.axes.currentText(), result.channel.fixed.get("C")
        result.labels = self.viewer.add_labels(
            result.to_layer(frames),
            name=f"nuclei of {layer.name}",
            features=to_features([frame.columns for frame in frames]),
            **place_labels(layer, axes, channel),
        )
        result.labels.contour = 2
        result.labels.mouse_drag_callbacks.append(self._pick)
        result.labels.events.paint.connect(lambda _: self._mark_corrected(result))
        result.labels.events.selected_label.connect(lambda _: self._go_to_selected(result))
        self.result = result
        if self._predictor is not None:
            self.adjust_panel.set_threshold(self._predictor[1].threshold)
        self._report(frames)
        self._show_table()
        self._enable_panels()

    def _show_table(self) -> None:
        """Opens napari's table of the measurements below the image."""
        dock, _ = self.viewer.window.add_plugin_dock_widget("napari", MEASUREMENTS)
        window = dock.window()
        if isinstance(window, QMainWindow) and not dock.property(PLACED):
            window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
            dock.setProperty(PLACED, True)  # the user may move it then

    def _report(self, frames: list[Frame]) -> None:
        columns = [frame.columns for frame in frames]
        count = sum(len(table["label"]) for table in columns)
        text = f"{count} nuclei"
        areas = [table["area"] for table in columns if "area" in table]
        if count and areas:
            diameter = np.median(2 * np.sqrt(np.concatenate(areas) / np.pi))
            text += f", median diameter {diameter:.1f} px"
        doubts = dict.fromkeys(frame.doubts for frame in frames if frame.doubts)
        self.status.setText(f"{text}. Check: {'; '.join(doubts)}" if doubts else text)

    def adjust(self) -> None:
        """Finds the nuclei for other criteria from the stored maps: at once in the shown plane."""
        result = self.result
        if result is None or result.is_corrected:
            return
        criteria = self.adjust_panel.criteria
        if self._finder is not None:
            self._finder.quit()
        if result.image.size[0] * result.image.size[1] <= LARGEST_LIVE:
            self._adjust_shown_plane(result, criteria)
        finder = create_worker(self._find_all, result, criteria, _ignore_errors=True)
        finder.returned.connect(lambda frames: self._show_found(finder, result, frames))
        finder.errored.connect(self._show_error)
        finder.finished.connect(lambda: self._end_finder(finder))
        self._finder = finder
        finder.start()

    def _adjust_shown_plane(self, result: Result, criteria: Criteria) -> None:
        time, z = result.shown_plane(self.viewer.dims.point)
        nuclei = result.segmentation.find_plane(time, z, criteria)
        result.by_time()[time, z] = nuclei.labels
        result.labels.refresh()
        self.status.setText(f"{len(nuclei)} nuclei in this plane")

    @staticmethod
    def _find_all(result: Result, criteria: Criteria) -> Iterator[None]:
        frames = []
        for frame in result.segmentation.find(criteria):
            frames.append(frame)
            yield
        return frames

    def _end_finder(self, finder: Any) -> None:
        if finder is self._finder:
            self._finder = None

    def _show_found(self, finder: Any, result: Result, frames: list[Frame]) -> None:
        if finder is self._finder and result is self.result and not result.is_corrected:
            result.show(frames)
            self._report(frames)

    def _mark_corrected(self, result: Result) -> None:
        result.is_corrected = True
        self.adjust_panel.allow_changes(False)
        self.status.setText("The labels were corrected by hand; “Measure again” measures them.")

    def measure(self) -> None:
        """Measures the labels as they are."""
        if self.result is None:
            return
        columns = list(self.result.segmentation.measure(self.result.by_time()))
        self.result.labels.features = to_features(columns)
        count = sum(len(table["label"]) for table in columns)
        self.status.setText(f"{count} nuclei, measured as they are now")

    def _pick(self, layer: Any, event: Any) -> Iterator[None]:
        """Selects the nucleus that is clicked on while the layer is moved and zoomed."""
        is_click = layer.mode == "pan_zoom"
        yield
        while event.type == "mouse_move":
            is_click = False
            yield
        value = layer.get_value(event.position, world=True)
        if is_click and value:
            layer.selected_label = int(value)

    def _go_to_selected(self, result: Result) -> None:
        """Moves the view to the selected nucleus if it is not shown."""
        label = result.labels.selected_label
        position = result.world_position(label)
        if position is None or result.labels.mode != "pan_zoom":
            return
        shape = result.labels.data.shape
        index = np.round(result.labels.world_to_data(position)).astype(int)
        plane = result.labels.world_to_data(self.viewer.dims.point)
        is_other_plane = any(round(plane[axis]) != index[axis] for axis in range(len(shape) - 2))
        corners = result.labels.corner_pixels[:, -2:]
        is_outside = (index[-2:] < corners[0]).any() or (index[-2:] > corners[1]).any()
        if is_other_plane:
            offset = self.viewer.dims.ndim - len(position)
            for axis in range(len(position) - 2):
                self.viewer.dims.set_point(axis + offset, position[axis])
        if is_outside:
            self.viewer.camera.center = tuple(position[-2:])

    def _draw_diameter(self) -> None:
        if self.layer is not None:
            draw_line(self.viewer, self.layer, self.image_panel.diameter.setValue)

    # Corrections and training

    @property
    def folder(self) -> Path | None:
        """The folder of the corrections."""
        text = self.correction_panel.folder.text().strip()
        return Path(text).expanduser() if text else None

    def save(self) -> None:
        """Saves the plane that is shown and its nuclei."""
        if self.result is None:
            return
        if self.folder is None:
            self.status.setText("Choose a folder for the corrections first.")
            return
        time, z = self.result.shown_plane(self.viewer.dims.point)
        name, channel = self.result.plane_name(time, z), self.result.plane_channel(time, z)
        try:
            save_correction(self.folder, name, channel, self.result.by_time()[time, z])
        except (OSError, ValueError) as error:
            self._show_error(error)
            return
        self.status.setText(f"{name} saved; {count_corrections(self.folder)} corrections")
        self._enable_panels()

    def train(self) -> None:
        """Trains the chosen model further on the corrections, or stops the training."""
        if self._training.is_running:
            self._training.stop()
            return
        if self.folder is None:
            self.status.setText("Choose a folder with corrections first.")
            return
        try:
            check_can_train(self.folder)
        except (ImportError, ValueError) as error:
            self._show_error(error)
            return
        self._new_model = new_model_folder(self.folder)
        iterations = self.correction_panel.iterations.value()
        model = self.image_panel.model.currentText()
        self._training.start(finetune_command(self.folder, model, self._new_model, iterations))
        self.correction_panel.train.setText("Stop the training")
        self.status.setText("The training starts …")

    def _show_iteration(self, iteration: int) -> None:
        last = self.correction_panel.iterations.value()
        self.status.setText(f"Training: iteration {iteration} of {last}")

    def _end_training(self, problem: str) -> None:
        self.correction_panel.train.setText("Fine-tune on my corrections")
        if problem:
            self.status.setText(f"The training ended: {problem}")
            return
        self.image_panel.offer_model(str(self._new_model))
        self.status.setText("The training has ended; its model is chosen above.")

    def _enable_panels(self) -> None:
        has_result = self.result is not None
        self.image_panel.run.setEnabled(self.layer is not None and self._worker is None)
        self.adjust_panel.setEnabled(has_result)
        self.adjust_panel.allow_changes(has_result and not self.result.is_corrected)
        self.correction_panel.save.setEnabled(has_result)

    def closeEvent(self, event: Any) -> None:
        """Stops what runs in the background."""
        for worker in (self._worker, self._finder):
            if worker is not None:
                worker.quit()
        self._training.stop()
        super().closeEvent(event)
