"""Buttons that lie on the picture, in the corners where radiologists look for them."""

from __future__ import annotations

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QWidget

_MARGIN = 8


class PictureCorners(QObject):
    """Keeps widgets on the right of a canvas, one above and one below.

    Parameters
    ----------
    canvas : QWidget
    above, below : QWidget
    bottom : int
        Pixels that are left free below the lower one.
    """

    def __init__(self, canvas: QWidget, above: QWidget, below: QWidget, bottom: int) -> None:
        super().__init__(canvas)
        self._canvas, self._above, self._below, self._bottom = canvas, above, below, bottom
        for widget in (above, below):
            widget.setParent(canvas)
            widget.setCursor(Qt.CursorShape.ArrowCursor)
        canvas.installEventFilter(self)
        above.installEventFilter(self)
        self._place()

    def release(self, home: QWidget) -> None:
        """Give the widgets to another one, which ends them."""
        if isalive(self._canvas):
            self._canvas.removeEventFilter(self)
        for widget in (self._above, self._below):
            if isalive(widget):
                widget.hide()
                widget.setParent(home)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay in the corners, as large as the widgets want to be."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show, QEvent.Type.LayoutRequest):
            self._place()
        return False

    def _place(self) -> None:
        right = self._canvas.width() - _MARGIN
        for widget in (self._above, self._below):
            if widget.size() != widget.sizeHint():
                widget.resize(widget.sizeHint())
        self._above.move(right - self._above.width(), _MARGIN)
        low = self._canvas.height() - self._bottom - self._below.height()
        self._below.move(right - self._below.width(), low)
        for widget in (self._above, self._below):
            widget.raise_()
