"""The widget that napari draws on."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget


def find_canvas(window: QWidget) -> QWidget | None:
    """Find the canvas in napari's window.

    napari gives it no public name, but it is the only widget there that OpenGL draws on; None if
    the window has none, or is not napari's.
    """
    found = [child for child in window.findChildren(QWidget) if child.inherits("QOpenGLWidget")]
    return found[0] if len(found) == 1 else None
