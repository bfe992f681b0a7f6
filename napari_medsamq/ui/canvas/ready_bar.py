"""A thin bar along the slice slider: which slices a box need not wait on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QScrollBar, QWidget

_HEIGHT = 3
_READY, _NOT_READY = QColor("#56B4E9"), QColor(128, 128, 128, 70)


class ReadyBar(QWidget):
    """Shows one cell for each slice, above the slider that it is attached to."""

    def __init__(self) -> None:
        super().__init__()
        self._slider: QScrollBar | None = None
        self.ready: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAccessibleName("Slices that are ready for boxes")
        self.hide()

    def attach(self, slider: QScrollBar | None) -> None:
        """Follow a slider; None hides the bar."""
        if slider is self._slider:
            return
        if self._slider is not None and isalive(self._slider):
            self._slider.removeEventFilter(self)
        self._slider = slider
        if slider is None:
            self.hide()
            self.setParent(None)
            return
        slider.installEventFilter(self)
        self.setParent(slider.parentWidget())
        self._place()
        self.show()

    def show_ready(self, ready: npt.NDArray[np.bool_]) -> None:
        """Show which slices (n,) bool are ready."""
        self.ready = ready
        self.setToolTip(f"{int(ready.sum())} of {ready.size} slices are ready for a box")
        self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay at the slider."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Move, QEvent.Type.Show):
            self._place()
        return False

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the runs of slices that are ready."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), _NOT_READY)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.ready, [0]]).astype(np.int8)))
        cell = self.width() / max(1, self.ready.size)
        for start, stop in edges.reshape(-1, 2):
            left, right = round(start * cell), round(stop * cell)
            painter.fillRect(left, 0, max(1, right - left), self.height(), _READY)
        painter.end()

    def _place(self) -> None:
        if self._slider is not None:
            place = self._slider.geometry()
            self.setGeometry(place.x(), 0, place.width(), _HEIGHT)
            self.raise_()


def slice_slider(window: QWidget, count: int) -> QScrollBar | None:
    """Find napari's slider of an axis with `count` slices among a window's widgets.

    napari gives no public way to it, but it is the horizontal scroll bar in sight whose last step
    is the last slice; None if there is none, in 3D say.
    """
    for bar in window.findChildren(QScrollBar):
        horizontal = bar.orientation() == Qt.Orientation.Horizontal
        if horizontal and bar.isVisible() and bar.maximum() == count - 1 and count > 1:
            return bar
    return None
