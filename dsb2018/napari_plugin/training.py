"""Runs a training in another process, beside the viewer."""

import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from qtpy.QtCore import QObject, QProcess, QProcessEnvironment, Signal

from dsb2018.errors import UsageError
from dsb2018.inference.corrections import IMAGES, MASKS, count_corrections
from dsb2018.inference.opened_model import DEFAULT
from dsb2018.runtime.packaged import FOLDER

NEEDED = ("torch", "detectron2")
INSTALL = 'pip install "dsb2018[train]", then Detectron2 (see the README)'
ITERATION = re.compile(r"iter: (\d+)")


def finetune_command(folder: Path, model: str, output: Path, iterations: int) -> list[str]:
    """Returns the command that trains a model further.

    Args:
        folder: of corrections.
        model: to begin with; the default one instead of those that cannot be trained further.
        output: folder of the new model.
        iterations: number of training steps.
    """
    is_dense = Path(model).is_dir() or (FOLDER / f"{model}.onnx").exists()
    data = ["--input", str(folder / IMAGES), "--truth", str(folder / MASKS)]
    options = ["--model", model if is_dense else DEFAULT, "--iterations", str(iterations)]
    program = [sys.executable, "-W", "ignore", "-m", "dsb2018", "finetune"]
    return [*program, *data, "--output", str(output), *options]


def check_can_train(folder: Path) -> None:
    """Checks that a training could start.

    Raises:
        ImportError: a library is missing.
        UsageError: there are no corrections.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ImportError(f"training needs {', '.join(missing)}: {INSTALL}")
    if not count_corrections(folder):
        raise UsageError(f"{folder}: no corrections; save some first")


def new_model_folder(folder: Path) -> Path:
    """Returns the path of the next model in a folder of corrections, `model_1`, `model_2`, …"""
    number = 1
    while (folder / f"model_{number}").exists():
        number += 1
    return folder / f"model_{number}"


class TrainingProcess(QObject):
    """Runs a training.

    Args:
        parent: object of Qt that keeps it.
    """

    advanced = Signal(int)  # the iteration that was finished
    ended = Signal(str)  # why it failed; "" if it did not

    def __init__(self, parent: QObject):
        super().__init__(parent)
        self._text = ""
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONUNBUFFERED", "1")  # else the message of an error is not the last
        self._process = QProcess(self)
        self._process.setProcessEnvironment(environment)
        self._process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        self._process.readyRead.connect(self._read)
        self._process.finished.connect(self._finish)
        self._process.errorOccurred.connect(self._fail)

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    def start(self, command: Sequence[str]) -> None:
        """Starts a command: program and arguments."""
        self._text = ""
        self._process.start(command[0], list(command[1:]))

    def stop(self) -> None:
        """Stops the command."""
        if self.is_running:
            self._process.kill()
            self._process.waitForFinished(5000)

    def _read(self) -> None:
        self._text += bytes(self._process.readAll()).decode(errors="replace")
        self._text = self._text[-20_000:]
        if found := ITERATION.findall(self._text):
            self.advanced.emit(int(found[-1]))

    def _finish(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        if status != QProcess.ExitStatus.NormalExit:
            self.ended.emit("stopped")
        elif code:
            lines = [line for line in self._text.splitlines() if line.strip()]
            self.ended.emit(lines[-1] if lines else f"exit status {code}")
        else:
            self.ended.emit("")

    def _fail(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.ended.emit(self._process.errorString())
