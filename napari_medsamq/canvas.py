"""Where napari's canvas is, for what lies over it or comes before it."""

from __future__ import annotations

from qtpy.QtWidgets import QMainWindow, QWidget


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
    parent: QWidget | None = inside
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parentWidget()
    centre = None if parent is None else parent.centralWidget()
    if centre is not None:
        for widget in centre.findChildren(QWidget):
            if widget.inherits("QOpenGLWidget"):
                return widget
    raise ValueError("the widget has to be in napari's window, with its canvas")
