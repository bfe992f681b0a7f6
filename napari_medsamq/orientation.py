"""Letters at the edges of the canvas that say which way the patient lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_medsamq.canvas import find_canvas
from napari_medsamq.geometry import is_oblique, obliquity
from napari_medsamq.layers import VOLUME
from napari_medsamq.volume_io import LEFT_RIGHT_UNKNOWN, Volume

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

# At the low and the high end of each array axis (z, y, x).
_ENDS = (("I", "S"), ("A", "P"), ("R", "L"))
_MARGIN = 6
_STYLE = (
    "color: #F0E442; background: rgba(0, 0, 0, 140); border-radius: 3px; padding: 1px 5px;"
    "font-weight: bold; font-size: {size}pt;"
)


def edge_letters(order: tuple[int, ...], orientation: tuple[str, str]) -> tuple[str, str, str, str]:
    """Return the letters at the top, bottom, left and right of the canvas.

    Parameters
    ----------
    order : (3,) int
        napari's `dims.order` of the array axes (z, y, x): the cut one, rows, columns.
    orientation : (str, str)
        napari's `camera.orientation2d`: where rows and columns run to.
    """
    top, bottom = _ENDS[order[1]]
    left, right = _ENDS[order[2]]
    if str(orientation[0]) == "up":
        top, bottom = bottom, top
    if str(orientation[1]) == "left":
        left, right = right, left
    return top, bottom, left, right


class OrientationLetters(QObject):
    """Shows letters over the canvas, and a badge where the slices are tilted.

    Parameters
    ----------
    parent : QObject
    viewer : napari.Viewer
    dock : QWidget
        In the window whose canvas it is.
    layer : Layer
        Of the volume, as its metadata say; once it is turned in the viewer, there are no letters.
    """

    def __init__(self, parent: QObject, viewer: Viewer, dock: QWidget, layer: Layer) -> None:
        super().__init__(parent)
        volume: Volume = layer.metadata[VOLUME]
        self._viewer = viewer
        # Pictures and cases, which hold grey values, do not say how the patient lies in them.
        self._known = LEFT_RIGHT_UNKNOWN not in volume.warnings and not (
            volume.windowed or volume.modality_source == "picture"
        )
        self._layer = layer
        self._canvas = find_canvas(dock.window())
        self.letters = [self._label(14) for _ in range(4)]
        self.badge = self._label(10)
        if is_oblique(volume.affine):
            self.badge.setText(f"oblique {obliquity(volume.affine):.0f}°")
        if self._canvas is not None:
            self._canvas.installEventFilter(self)
        self._events = (
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.scene.camera.events.orientation,
            layer.events.rotate,
            layer.events.affine,
        )
        for event in self._events:
            event.connect(self.refresh)
        self.refresh()

    def close(self) -> None:
        """Take the letters away."""
        for event in self._events:
            event.disconnect(self.refresh)
        if self._canvas is not None:
            self._canvas.removeEventFilter(self)
        for label in (*self.letters, self.badge):
            label.hide()
            label.deleteLater()

    def refresh(self) -> None:
        """Show what is true for the view as it is now."""
        flat = self._viewer.dims.ndisplay == 2 and self._viewer.dims.ndim >= 3
        straight = np.allclose(self._layer.rotate, np.eye(self._layer.ndim)) and np.allclose(
            self._layer.affine.affine_matrix, np.eye(self._layer.ndim + 1)
        )
        seen = flat and straight and self._known and self._canvas is not None
        if seen:
            extra = self._viewer.dims.ndim - 3
            order = tuple(axis - extra for axis in self._viewer.dims.order[-3:])
            orientation = self._viewer.scene.camera.orientation2d
            for label, letter in zip(self.letters, edge_letters(order, orientation), strict=True):
                label.setText(letter)
        for label in self.letters:
            label.setVisible(seen)
        self.badge.setVisible(seen and bool(self.badge.text()))
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay at the edges."""
        if event.type() == QEvent.Type.Resize:
            self._place()
        return False

    def _label(self, size: int) -> QLabel:
        label = QLabel(self._canvas)
        label.setStyleSheet(_STYLE.format(size=size))
        label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        return label

    def _place(self) -> None:
        if self._canvas is None:
            return
        width, height = self._canvas.width(), self._canvas.height()
        for label in (*self.letters, self.badge):
            label.adjustSize()
        top, bottom, left, right = self.letters
        top.move((width - top.width()) // 2, _MARGIN)
        bottom.move((width - bottom.width()) // 2, height - bottom.height() - _MARGIN)
        left.move(_MARGIN, (height - left.height()) // 2)
        right.move(width - right.width() - _MARGIN, (height - right.height()) // 2)
        self.badge.move(_MARGIN, _MARGIN)
