"""The training that the controls of the widget start and stop."""

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QObject

from dsb2018.napari_plugin.panels import CorrectionPanel
from dsb2018.napari_plugin.training import (
    TrainingProcess,
    check_can_train,
    finetune_command,
    new_model_folder,
)

START, STOP = "Fine-tune on my corrections", "Stop the training"


class FineTuning:
    """Trains a model further on the corrections.

    Args:
        parent: object of Qt that keeps the process.
        panel: the controls.
        show: is called with messages.
        offer: is called with the folder of a new model.
    """

    def __init__(
        self,
        parent: QObject,
        panel: CorrectionPanel,
        show: Callable[[str], None],
        offer: Callable[[str], None],
    ):
        self._panel, self._show, self._offer = panel, show, offer
        self._output = Path()
        self._process = TrainingProcess(parent)
        self._process.advanced.connect(self._show_iteration)
        self._process.ended.connect(self._end)
        panel.train.setText(START)

    @property
    def is_running(self) -> bool:
        """Whether a training runs."""
        return self._process.is_running

    def start(self, model: str) -> None:
        """Trains a model; says what is missing if this cannot be."""
        folder = self._panel.folder_path
        if folder is None:
            self._show("Choose a folder with corrections first.")
            return
        try:
            check_can_train(folder)
        except (ImportError, ValueError) as error:
            self._show(str(error))
            return
        self._output = new_model_folder(folder)
        iterations = self._panel.iterations.value()
        self._process.start(finetune_command(folder, model, self._output, iterations))
        self._panel.train.setText(STOP)
        self._show("The training starts …")

    def stop(self) -> None:
        """Stops the training."""
        self._process.stop()

    def _show_iteration(self, iteration: int) -> None:
        self._show(f"Training: iteration {iteration} of {self._panel.iterations.value()}")

    def _end(self, problem: str) -> None:
        self._panel.train.setText(START)
        if problem:
            self._show(f"The training ended: {problem}")
            return
        self._offer(str(self._output))
        self._show("Training finished; the new model is selected under Model.")
