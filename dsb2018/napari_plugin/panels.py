"""The three groups of controls of the widget. They know neither layers nor models."""

from dataclasses import astuple
from importlib.util import find_spec
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSlider,
    QSpinBox,
    QWidget,
)

from dsb2018.inference.opened_model import DEFAULT
from dsb2018.inference.selection import Area, Selection
from dsb2018.napari_plugin.segmentation import Criteria
from dsb2018.runtime.packaged import FOLDER, packaged_names

STEPS = 100  # of the threshold from 0 to 1
LARGEST_DIAMETER, LARGEST_AREA = 1000.0, 10_000_000  # pixels
MODEL_FILES = "ONNX or bioimage.io package (*.onnx *.zip);;Config (*.yaml *.yml)"


class ImagePanel(QGroupBox):
    """What is segmented, and with which model."""

    axes_changed = Signal()
    draw_clicked = Signal(bool)  # whether a line is to be drawn
    run_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self):
        super().__init__("1. Segment")
        self.image, self.axes, self.channel = QComboBox(), QComboBox(), QComboBox()
        self.axes.setToolTip("T: time, Z: slices, C: channels, S: red, green and blue")
        self.model = QComboBox()
        self.model.addItems(usable_models())
        self.other = QPushButton("Other…")
        self.other.setToolTip(
            "A model of your own: an ONNX file, a package of bioimage.io, or the config.yaml of a "
            "training"
        )
        self.diameter = QDoubleSpinBox()
        self.diameter.setRange(0, LARGEST_DIAMETER)
        self.diameter.setDecimals(1)
        self.diameter.setSuffix(" px")
        self.diameter.setSpecialValueText("estimated")
        self.draw = QPushButton("Draw a line")
        self.draw.setToolTip("Draw a line across a typical nucleus")
        self.draw.setCheckable(True)
        self.run, self.cancel = QPushButton("Segment"), QPushButton("Cancel")
        self.progress = QProgressBar()
        self._rows = QFormLayout(self)
        self._rows.addRow("Image", self.image)
        self._rows.addRow("Axes", self.axes)
        self._rows.addRow("Channel", self.channel)
        self._rows.addRow("Model", in_a_row(self.model, self.other))
        self._rows.addRow("Diameter", in_a_row(self.diameter, self.draw))
        self._rows.addRow(in_a_row(self.run, self.cancel))
        self._rows.addRow(self.progress)
        self.axes.currentTextChanged.connect(lambda _: self.axes_changed.emit())
        self.draw.clicked.connect(self.draw_clicked)
        self.run.clicked.connect(self.run_clicked)
        self.cancel.clicked.connect(self.cancel_clicked)
        self.other.clicked.connect(self._choose_model)
        self.show_running(False)

    def show_running(self, running: bool) -> None:
        """Shows whether a network runs."""
        self.run.setEnabled(not running and self.image.count() > 0)
        self.cancel.setEnabled(running)
        self.progress.setVisible(running)
        self.progress.setRange(0, 0)  # busy, until the first progress

    def show_progress(self, part: float) -> None:
        """Shows the part that is done, 0 to 1."""
        self.progress.setRange(0, 1000)
        self.progress.setValue(round(1000 * part))

    def offer_axes(self, choices: tuple[str, ...]) -> None:
        """Replaces the choices of the axes."""
        self.axes.blockSignals(True)
        self.axes.clear()
        self.axes.addItems(choices)
        self.axes.blockSignals(False)
        self._rows.setRowVisible(self.axes, len(choices) > 1)
        self.axes_changed.emit()

    def offer_channels(self, choices: list[str]) -> None:
        """Replaces the choices of the channel."""
        self.channel.clear()
        self.channel.addItems(choices)
        self._rows.setRowVisible(self.channel, len(choices) > 1)

    def offer_model(self, path: str) -> None:
        """Adds a model to the choices and chooses it."""
        if self.model.findText(path) < 0:
            self.model.addItem(path)
        self.model.setCurrentText(path)

    def _choose_model(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Model", filter=MODEL_FILES)
        if path:
            file = Path(path)
            self.offer_model(str(file.parent if file.name == "config.yaml" else file))


class AdjustPanel(QGroupBox):
    """What may be changed after the network has run."""

    changed = Signal()
    measure_clicked = Signal()

    def __init__(self):
        super().__init__("2. Adjust")
        self.threshold = QSlider(Qt.Orientation.Horizontal)
        self.threshold.setRange(1, STEPS - 1)
        self._threshold_text = QLabel()
        self.least, self.most = QSpinBox(), QSpinBox()
        for area in (self.least, self.most):
            area.setRange(0, LARGEST_AREA)
            area.setSuffix(" px²")
            area.setSpecialValueText("any")
        self.exclude_border = QCheckBox("leave out nuclei at the border")
        self.measure = QPushButton("Measure again")
        self.measure.setToolTip("Measure the labels as they are now, after corrections by hand")
        rows = QFormLayout(self)
        rows.addRow("Threshold", in_a_row(self.threshold, self._threshold_text))
        rows.addRow("Smallest area", self.least)
        rows.addRow("Largest area", self.most)
        rows.addRow(self.exclude_border)
        rows.addRow(self.measure)
        self.threshold.valueChanged.connect(self._show_threshold)
        for signal in (
            self.threshold.valueChanged,
            self.least.valueChanged,
            self.most.valueChanged,
            self.exclude_border.toggled,
        ):
            signal.connect(lambda _: self.changed.emit())
        self.measure.clicked.connect(self.measure_clicked)
        self.set_criteria(Criteria(0.5))

    @property
    def criteria(self) -> Criteria:
        """The values of the controls."""
        least, most = self.least.value(), self.most.value()
        selection = Selection(
            Area(least, False) if least else None,
            Area(most, False) if most else None,
            self.exclude_border.isChecked(),
        )
        return Criteria(self.threshold.value() / STEPS, selection)

    def set_criteria(self, criteria: Criteria) -> None:
        """Shows the criteria of a result, without a signal."""
        least, most, exclude_border = astuple(criteria.selection)
        self.blockSignals(True)
        self.threshold.setValue(round((criteria.threshold or 0.0) * STEPS))
        self.least.setValue(round(least[0]) if least else 0)
        self.most.setValue(round(most[0]) if most else 0)
        self.exclude_border.setChecked(exclude_border)
        self.blockSignals(False)

    def allow_changes(self, allowed: bool) -> None:
        """Locks the controls after corrections by hand, which they would replace."""
        for control in (self.threshold, self.least, self.most, self.exclude_border):
            control.setEnabled(allowed)

    def _show_threshold(self) -> None:
        self._threshold_text.setText(f"{self.threshold.value() / STEPS:.2f}")


class CorrectionPanel(QGroupBox):
    """Where corrections are saved, and the training on them."""

    save_clicked = Signal()
    train_clicked = Signal()

    def __init__(self):
        super().__init__("3. Correct and train")
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("folder of the corrections")
        browse = QPushButton("…")
        self.save = QPushButton("Save corrections")
        self.save.setToolTip("Save the plane that is shown and its nuclei as training data")
        self.train = QPushButton()
        self.iterations = QSpinBox()
        self.iterations.setRange(1, 100_000)
        self.iterations.setValue(200)
        self.iterations.setSuffix(" iterations")
        rows = QFormLayout(self)
        rows.addRow("Folder", in_a_row(self.folder, browse))
        rows.addRow(self.save)
        rows.addRow("Training", self.iterations)
        rows.addRow(self.train)
        browse.clicked.connect(self._browse)
        self.save.clicked.connect(self.save_clicked)
        self.train.clicked.connect(self.train_clicked)

    @property
    def folder_path(self) -> Path | None:
        """The folder of the corrections, if one is chosen."""
        text = self.folder.text().strip()
        return Path(text).expanduser() if text else None

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the corrections")
        if folder:
            self.folder.setText(folder)


def usable_models() -> list[str]:
    """Returns the names of the packaged models that can run here, the default one first."""
    has_torch = all(map(find_spec, ("torch", "detectron2")))
    names = [name for name in packaged_names() if has_torch or (FOLDER / f"{name}.onnx").exists()]
    return sorted(names, key=lambda name: (not name.startswith(DEFAULT), name))


def in_a_row(*widgets: QWidget) -> QWidget:
    """Returns a widget that contains others beside each other."""
    container = QWidget()
    row = QHBoxLayout(container)
    row.setContentsMargins(0, 0, 0, 0)
    for number, widget in enumerate(widgets):
        row.addWidget(widget, stretch=1 if number == 0 else 0)
    return container
