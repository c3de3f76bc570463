"""Trainings that the widget starts."""

import sys

import numpy as np
import pytest

from dsb2018 import Predictor
from dsb2018.errors import UsageError
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.corrections import save_correction
from tests.inference.drawing import micrograph

pytest.importorskip("napari")
training = pytest.importorskip("dsb2018.napari_plugin.training")


def save_corrections(folder, count):
    for seed in range(count):
        pixels, labels = micrograph((128, 128), seed)
        name = f"image {seed}"
        save_correction(folder, name, MicroscopyImage(name, folder, pixels, "YX"), labels)
    return folder


def option(command, key):
    return command[command.index(key) + 1]


def test_command(tmp_path):
    command = training.finetune_command(tmp_path, "nuclei_fast", tmp_path / "model_1", 7)
    assert option(command, "--model") == "nuclei_fast"
    assert option(command, "--iterations") == "7"
    command = training.finetune_command(tmp_path, "mask_rcnn_lite0_FPN", tmp_path / "model_1", 7)
    assert option(command, "--model") == "nuclei"  # not a dense model


def test_each_model_has_a_folder(tmp_path):
    assert training.new_model_folder(tmp_path).name == "model_1"
    (tmp_path / "model_1").mkdir()
    assert training.new_model_folder(tmp_path).name == "model_2"


def test_what_training_needs(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no corrections; save some first"):
        training.check_can_train(tmp_path)
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'torch, detectron2: pip install "dsb2018\[train\]"'):
        training.check_can_train(tmp_path)


def test_fine_tuning(viewer, widget, wait, tmp_path):
    folder = save_corrections(tmp_path / "mine", 1)
    panel = widget.correction_panel
    panel.folder.setText(str(folder))
    panel.iterations.setValue(2)
    panel.train.click()
    assert panel.train.text() == "Stop the training"
    messages = set()
    wait(lambda: messages.add(widget.status.text()) or not widget._fine_tuning.is_running, 300)
    assert widget.status.text() == "Training finished; the new model is selected under Model."
    model = widget.image_panel.model.currentText()
    assert model == str(folder / "model_1")
    pixels, _ = micrograph((128, 128), 9)
    viewer.add_image(pixels, name="new")
    widget.image_panel.run.click()
    wait(lambda: widget.result is not None and widget._worker is None)
    assert np.array_equal(widget.result.labels.data, Predictor(model)(pixels).labels)
    command = training.finetune_command(folder, model, tmp_path, 1)
    assert option(command, "--model") == model  # goes on from it


def test_training_is_stopped(widget, wait, tmp_path):
    widget.correction_panel.folder.setText(str(save_corrections(tmp_path, 1)))
    widget.correction_panel.train.click()
    wait(lambda: widget._fine_tuning.is_running)
    widget.correction_panel.train.click()
    wait(lambda: not widget._fine_tuning.is_running)
    assert widget.status.text() == "The training ended: stopped"
    assert widget.correction_panel.train.text() == "Fine-tune on my corrections"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("print('x'); raise SystemExit('no disk')", "no disk"),
        ("raise SystemExit(3)", "iter: 20"),
    ],
)
def test_failure_of_a_command(screen, wait, code, problem):
    from qtpy.QtCore import QObject
    from qtpy.QtWidgets import QApplication

    from dsb2018.napari_plugin.training import TrainingProcess

    app = QApplication.instance() or QApplication([])
    parent = QObject()
    process, ended, advanced = TrainingProcess(parent), [], []
    process.ended.connect(ended.append)
    process.advanced.connect(advanced.append)
    process.start([sys.executable, "-c", f"print('iter: 20', flush=True); {code}"])
    wait(lambda: ended)
    assert ended == [problem]
    assert set(advanced) == {20}
    process.start(["/no/such/program"])
    wait(lambda: len(ended) == 2)
    assert ended[1]
    assert app is not None


def test_messages_without_corrections(widget, tmp_path):
    widget.correction_panel.train.click()
    assert widget.status.text() == "Choose a folder with corrections first."
    widget.correction_panel.folder.setText(str(tmp_path))
    widget.correction_panel.train.click()
    assert "no corrections; save some first" in widget.status.text()
