"""Runs a training in another process, beside the viewer."""

import re
from collections.abc import Sequence

from qtpy.QtCore import QObject, QProcess, Signal

ITERATION = re.compile(r"iter: (\d+)")


class TrainingProcess(QObject):
    """Runs commands one after the other. It stops at the first one that fails.

    Args:
        parent: object of Qt that keeps it.
    """

    advanced = Signal(int)  # the iteration that was finished
    ended = Signal(str)  # why it failed; "" if it did not

    def __init__(self, parent: QObject):
        super().__init__(parent)
        self._commands: list[Sequence[str]] = []
        self._text = ""
        self._process = QProcess(self)
        self._process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        self._process.readyRead.connect(self._read)
        self._process.finished.connect(self._finish)
        self._process.errorOccurred.connect(self._fail)

    @property
    def is_running(self) -> bool:
        """Whether a command runs."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    def start(self, commands: Sequence[Sequence[str]]) -> None:
        """Starts the first command: program and arguments."""
        self._commands = list(commands)
        self._next()

    def stop(self) -> None:
        """Stops the running command."""
        self._commands = []
        if self.is_running:
            self._process.kill()
            self._process.waitForFinished(5000)

    def _next(self) -> None:
        program, *arguments = self._commands.pop(0)
        self._text = ""
        self._process.start(program, arguments)

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
        elif self._commands:
            self._next()
        else:
            self.ended.emit("")

    def _fail(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.ended.emit(self._process.errorString())
