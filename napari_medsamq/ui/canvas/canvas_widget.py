"""Where napari's canvas is, for what lies over it or comes before it."""

from __future__ import annotations

from typing import TypeVar

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QListView, QMainWindow, QWidget

Kind = TypeVar("Kind", bound=QWidget)

# A box that lags behind the mouse for longer is felt.
_MOST_HELD_MS = 40
# Lists beside the picture follow the hand once it has rested for so long.
_REST_MS = 300


def canvas_widget(inside: QWidget) -> QWidget:
    """Return the widget that napari draws on, in the window that a widget belongs to.

    napari has no public way to it. But it is the one widget with OpenGL in the central part of
    napari's main window, and that part is Qt's own to give. The window is found by the parents:
    `QWidget.window` would give a dock itself while it floats.

    Raises
    ------
    ValueError
        If the widget is not in a window with a canvas.
    """
    window = main_window(inside)
    centre = None if window is None else window.centralWidget()
    if centre is not None:
        for widget in centre.findChildren(QWidget):
            if widget.inherits("QOpenGLWidget"):
                return widget
    raise ValueError("the widget has to be in napari's window, with its canvas")


def main_window(inside: QWidget) -> QMainWindow | None:
    """Return napari's window that a widget belongs to."""
    return _above(inside, QMainWindow)


def dock_frame(inside: QWidget) -> QDockWidget | None:
    """Return the frame of the dock that a widget belongs to."""
    return _above(inside, QDockWidget)


def _above(inside: QWidget, kind: type[Kind]) -> Kind | None:
    parent: QWidget | None = inside
    while parent is not None and not isinstance(parent, kind):
        parent = parent.parentWidget()
    return parent


class PaintHold(QObject):
    """Keeps a canvas from being painted until more is there to be seen, and lists until later.

    A picture takes OpenGL in software 25 to 40 ms: a box that is painted first and its mask
    afterwards come later than both at once. napari's list of layers is painted anew for each change
    of one.

    Parameters
    ----------
    parent : QObject
    canvas : QWidget
    """

    def __init__(self, parent: QObject, canvas: QWidget) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._holds = False
        # What is there to be seen is painted before anything is held again.
        self._due = False
        # Runs while the canvas is held, and then until lists follow again.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_time)
        canvas.installEventFilter(self)

    def begin(self) -> None:
        """Paint nothing until `release`, or for 40 ms, once what is due is painted."""
        self._holds = True
        if not self._timer.isActive():
            self._show_list(False)
        self._keep()

    def release(self) -> None:
        """Paint what has changed, with all else of the window that has, and everything from now on.

        Not at once: napari's lists and lines would come in a second picture of the window.
        """
        if self._holds:
            self._timer.start(_REST_MS)
        self._holds, self._due = False, True
        if not self._canvas.updatesEnabled():
            self._canvas.setUpdatesEnabled(True)

    def end(self) -> None:
        """Hold nothing more, nor the list of layers."""
        self.release()
        self._timer.stop()
        self._show_list(True)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """See the canvas being painted."""
        if self._due and event.type() == QEvent.Type.Paint:
            self._due = False
            QTimer.singleShot(0, self._keep)
        return False

    def _keep(self) -> None:
        if self._holds and not self._due:
            self._canvas.setUpdatesEnabled(False)
            self._timer.start(_MOST_HELD_MS)

    def _on_time(self) -> None:
        if self._holds:
            self.release()
        else:
            self._show_list(True)

    def _show_list(self, shown: bool) -> None:
        window = main_window(self._canvas)
        for view in [] if window is None else window.findChildren(QListView):
            if view.inherits("QtLayerList"):
                view.setUpdatesEnabled(shown)
