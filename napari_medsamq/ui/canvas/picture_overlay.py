"""Thin lines over the working picture that belong to no layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QObject, QPointF, Qt
from qtpy.QtGui import QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_medsamq.array_types import Float64
from napari_medsamq.ui.canvas.plane_pane import CROSS_HAIR, cross_lines

if TYPE_CHECKING:
    from napari.components import ViewerModel


class PictureOverlay(QWidget):
    """Covers a canvas and lets the mouse through; hidden where there is nothing to be painted.

    Parameters
    ----------
    canvas : QWidget
    viewer : ViewerModel
        Whose camera says where places lie.
    """

    def __init__(self, canvas: QWidget, viewer: ViewerModel) -> None:
        super().__init__(canvas)
        self._canvas, self._viewer = canvas, viewer
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        camera = viewer.scene.camera.events
        self._events = camera.center, camera.zoom, camera.orientation
        for event in self._events:
            event.connect(self._on_camera)
        canvas.installEventFilter(self)
        self._fit()
        self.hide()

    def close_overlay(self) -> None:
        """Take it away."""
        for event in self._events:
            event.disconnect(self._on_camera)
        self._canvas.removeEventFilter(self)
        self.hide()
        self.deleteLater()

    def pixel(self, place: npt.ArrayLike) -> QPointF:
        """Return where on the canvas a place (rows, columns) in the viewer's mm lies."""
        camera = self._viewer.scene.camera
        vertical, horizontal = camera.orientation2d
        down, right = (np.asarray(place) - camera.center[-2:]) * camera.zoom
        x = self._canvas.width() / 2 + (right if horizontal == "right" else -right)
        y = self._canvas.height() / 2 + (down if vertical == "down" else -down)
        return QPointF(x, y)

    def paint_lines(self, painter: QPainter) -> None:
        """Paint what there is."""
        raise NotImplementedError

    def _on_camera(self) -> None:
        if not self.isHidden():
            self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Cover the canvas, below what else lies on it."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._fit()
        return False

    def _fit(self) -> None:
        self.setGeometry(self._canvas.rect())
        self.lower()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the lines."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.paint_lines(painter)
        painter.end()


class CrossHair(PictureOverlay):
    """Two lines through the place that other planes are seen at."""

    _place: Float64 | None = None

    def show_place(self, place: Float64 | None) -> None:
        """Show a place (rows, columns) in the viewer's mm; None for none."""
        self._place = place
        self.setVisible(place is not None)
        self.update()

    def paint_lines(self, painter: QPainter) -> None:
        """Paint the lines."""
        if self._place is not None:
            painter.setPen(CROSS_HAIR)
            for line in cross_lines(self.pixel(self._place).toPoint(), self.rect()):
                painter.drawLine(*line)
