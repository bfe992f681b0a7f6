"""A network that learns from the user's finished work, in a process of its own."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from qtpy.QtCore import QProcess, Signal
from qtpy.QtWidgets import QMessageBox, QProgressDialog, QWidget

from napari_medsamq.plain_text import unguessed

_COMMAND = (sys.executable, "-m", "training.adapt")
_HOW = (
    "A network can learn from the slices that you have accepted. This needs the training, which is "
    "not installed with the plugin: in a checkout of napari-medsamq, run `python -m "
    "training.adapt`. What it makes is then listed here."
)


class Lesson(QProgressDialog):
    """Shows what the process says; stopped, it goes on where it was the next time.

    Parameters
    ----------
    parent : QWidget

    Signals
    -------
    ended
        The process is over, and there may be another model.
    """

    ended = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__("Learning from your finished work…", "Stop for now", 0, 0, parent)
        self.setWindowTitle("Learn from my corrections")
        self.setMinimumDuration(0)
        self.setAutoReset(False)
        self.setModal(False)
        self._process = QProcess(self)
        self._process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        self._process.readyReadStandardOutput.connect(self._on_said)
        self._process.finished.connect(self._on_finished)
        self.canceled.connect(self._process.terminate)
        self._process.start(_COMMAND[0], [*_COMMAND[1:]])

    def _on_said(self) -> None:
        lines = bytes(self._process.readAllStandardOutput()).decode(errors="replace").splitlines()
        told = [line for line in lines if line.strip()]
        if told:
            self.setLabelText(unguessed(told[-1]))

    def _on_finished(self) -> None:
        self.setRange(0, 1)
        self.setCancelButtonText("Close")
        self.ended.emit()


def begin_lesson(parent: QWidget) -> Lesson | None:
    """Begin a lesson where the training is installed, and tell how to come to one elsewhere."""
    if find_spec("training") is None:
        QMessageBox.information(parent, "Learn from my corrections", _HOW)
        return None
    lesson = Lesson(parent)
    lesson.show()
    return lesson
