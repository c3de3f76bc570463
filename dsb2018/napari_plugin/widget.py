"""The widget "Segment nuclei" of napari."""

from collections.abc import Iterator
from typing import Any

import napari
from napari.layers import Image
from napari.qt.threading import create_worker
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from dsb2018.inference.corrections import count_corrections, save_correction
from dsb2018.inference.measurements import Columns
from dsb2018.inference.predictor import Predictor
from dsb2018.napari_plugin.diameter_line import DiameterLine
from dsb2018.napari_plugin.features import to_features
from dsb2018.napari_plugin.fine_tuning import FineTuning
from dsb2018.napari_plugin.image_source import ImageSource
from dsb2018.napari_plugin.layer_images import place_labels
from dsb2018.napari_plugin.panels import AdjustPanel, CorrectionPanel, ImagePanel
from dsb2018.napari_plugin.result import Result
from dsb2018.napari_plugin.segmentation import Criteria, Frame, Segmentation, summarize
from dsb2018.napari_plugin.selected_label import select_on_click, show_selected, show_table

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
        self.result: Result | None = None  # the one that the controls change
        self._results: list[Result] = []
        self._predictor: tuple[tuple[str, float], Predictor] | None = None
        self._worker: Any = None  # runs the network
        self._finder: Any = None  # finds nuclei for other criteria
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._fine_tuning = FineTuning(
            self, self.correction_panel, self.status.setText, self.image_panel.offer_model
        )
        self._source = ImageSource(viewer, self.image_panel, self.status.setText)
        self._line = DiameterLine(
            viewer, self.image_panel.diameter.setValue, lambda: self._draw_diameter(False)
        )
        self._lay_out()
        self._connect()
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
        self.viewer.layers.events.inserted.connect(self._forget_removed)
        self.viewer.layers.events.removed.connect(self._forget_removed)
        self.viewer.layers.selection.events.active.connect(self._follow_active_layer)
        self.image_panel.draw_clicked.connect(self._draw_diameter)
        self.image_panel.run_clicked.connect(self.segment)
        self.image_panel.cancel_clicked.connect(self.cancel)
        self.adjust_panel.changed.connect(lambda: self._pause.start(PAUSE))
        self._pause.timeout.connect(self.adjust)
        self.adjust_panel.measure_clicked.connect(self.measure)
        self.correction_panel.save_clicked.connect(self.save)
        self.correction_panel.train_clicked.connect(self.train)

    def _forget_removed(self, _: Any = None) -> None:
        self._results = [one for one in self._results if one.labels in self.viewer.layers]
        if self.result not in self._results:
            self.result = None
        self._enable_panels()

    def _follow_active_layer(self, _: Any = None) -> None:
        active = self.viewer.layers.selection.active
        result = next((one for one in self._results if one.labels is active), None)
        if result and result is not self.result:
            self.result = result
            self.adjust_panel.set_criteria(result.criteria)
            self._enable_panels()

    # The network

    def segment(self) -> None:
        """Runs the network on the chosen layer, in a thread."""
        layer, axes = self._source.layer, self._source.axes
        if layer is None or self._worker is not None:
            return
        try:
            image, channel = self._source.open()
        except ValueError as error:
            self.status.setText(str(error))
            return
        model = self.image_panel.model.currentText()
        key = model, self.image_panel.diameter.value()
        criteria = self.adjust_panel.criteria
        if self._predictor is None or self._predictor[0][0] != model:
            criteria = criteria._replace(threshold=None)  # that of the new model
        result = Result(image, channel, Segmentation(image, channel), criteria)
        self._worker = create_worker(self._run_network, result, key, _ignore_errors=True)
        self._worker.yielded.connect(self.image_panel.show_progress)
        self._worker.returned.connect(lambda frames: self._show_result(result, layer, axes, frames))
        self._worker.errored.connect(self._show_error)
        self._worker.finished.connect(self._end_network)
        self.image_panel.show_running(True)
        self.status.setText("Segmenting …")
        self._worker.start()

    def cancel(self) -> None:
        """Stops the network before the next tile."""
        if self._worker is not None:
            self._worker.quit()
            self.status.setText("Canceled")

    def _run_network(self, result: Result, key: tuple[str, float]) -> Iterator[float]:
        predictor = self._open_model(key)
        if result.criteria.threshold is None:
            result.criteria = result.criteria._replace(threshold=predictor.threshold)
        yield from result.segmentation.run(predictor)
        yield 1.0
        frames = []
        for frame in result.segmentation.find(result.criteria):
            frames.append(frame)
            yield 1.0
        return frames

    def _open_model(self, key: tuple[str, float]) -> Predictor:
        """Opens a model for a diameter in pixels; 0: it is estimated."""
        if self._predictor is None or self._predictor[0] != key:
            self._predictor = None  # frees the memory of the previous model first
            self._predictor = key, Predictor(key[0], diameter=key[1] or None)
        return self._predictor[1]

    def _end_network(self) -> None:
        self._worker = None
        self.image_panel.show_running(False)
        self._enable_panels()

    def _show_error(self, error: Exception) -> None:
        self.status.setText(str(error) or type(error).__name__)

    # The nuclei

    def _show_result(self, result: Result, layer: Image, axes: str, frames: list[Frame]) -> None:
        result.labels = self.viewer.add_labels(
            result.to_layer(frames),
            name=f"nuclei of {layer.name}",
            features=to_features([frame.columns for frame in frames]),
            **place_labels(layer, axes, result.channel.fixed.get("C")),
        )
        result.labels.contour = 2
        result.labels.mouse_drag_callbacks.append(select_on_click)
        result.labels.events.paint.connect(lambda _: self._mark_corrected(result))
        result.labels.events.selected_label.connect(lambda _: show_selected(self.viewer, result))
        self._results.append(result)
        self.result = result
        self.adjust_panel.set_criteria(result.criteria)
        self.status.setText(summarize(frames))
        show_table(self.viewer)
        self._enable_panels()

    def adjust(self) -> None:
        """Finds the nuclei for other criteria from the stored maps: at once in the shown plane."""
        result = self.result
        if result is None or result.is_corrected:
            return
        criteria = result.criteria = self.adjust_panel.criteria
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
            self.status.setText(summarize(frames))

    def _mark_corrected(self, result: Result) -> None:
        result.is_corrected = True
        self.adjust_panel.allow_changes(False)
        self.status.setText(
            "You changed the labels. “Measure again” updates the table, “Segment” starts again."
        )

    def measure(self) -> None:
        """Measures the labels as they are."""
        result = self.result
        if result is None:
            return
        measurer = create_worker(
            lambda labels: list(result.segmentation.measure(labels)),
            result.by_time().copy(),
            _ignore_errors=True,
        )
        measurer.returned.connect(lambda columns: self._show_measurements(result, columns))
        measurer.errored.connect(self._show_error)
        measurer.start()

    def _show_measurements(self, result: Result, columns: list[Columns]) -> None:
        result.labels.features = to_features(columns)
        count = sum(len(table["label"]) for table in columns)
        self.status.setText(f"{count} nuclei, measured as they are now")

    def _draw_diameter(self, start: bool) -> None:
        start = start and self._source.layer is not None
        self.image_panel.draw.setChecked(start)
        if start:
            self._line.start(self._source.layer)
        else:
            self._line.stop()

    # Corrections and training

    def save(self) -> None:
        """Saves the plane that is shown and its nuclei."""
        if self.result is None:
            return
        folder = self.correction_panel.folder_path
        if folder is None:
            self.status.setText("Choose a folder for the corrections first.")
            return
        time, z = self.result.shown_plane(self.viewer.dims.point)
        name, channel = self.result.plane_name(time, z), self.result.plane_channel(time, z)
        try:
            save_correction(folder, name, channel, self.result.by_time()[time, z])
        except (OSError, ValueError) as error:
            self._show_error(error)
            return
        self.status.setText(f"{name} saved; {count_corrections(folder)} corrections")
        self._enable_panels()

    def train(self) -> None:
        """Trains the chosen model further on the corrections, or stops the training."""
        if self._fine_tuning.is_running:
            self._fine_tuning.stop()
        else:
            self._fine_tuning.start(self.image_panel.model.currentText())

    def _enable_panels(self) -> None:
        has_result = self.result is not None
        self.image_panel.run.setEnabled(self._source.layer is not None and self._worker is None)
        self.adjust_panel.setEnabled(has_result)
        self.adjust_panel.allow_changes(has_result and not self.result.is_corrected)
        self.correction_panel.save.setEnabled(has_result)

    def closeEvent(self, event: Any) -> None:
        """Stops what runs in the background."""
        for worker in (self._worker, self._finder):
            if worker is not None:
                worker.quit()
        self._line.stop()
        self._fine_tuning.stop()
        super().closeEvent(event)
