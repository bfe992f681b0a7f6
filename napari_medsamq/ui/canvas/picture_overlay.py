"""Thin lines over the working picture that belong to no layer: the cross hair, rulers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QObject, QPointF, QRect, Qt
from qtpy.QtGui import QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

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
        self._cross: npt.NDArray[np.float64] | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._camera = viewer.scene.camera.events
        for event in (self._camera.center, self._camera.zoom, self._camera.orientation):
            event.connect(self._on_camera)
        canvas.installEventFilter(self)
        self._fit()

    def close_overlay(self) -> None:
        """Take it away."""
        for event in (self._camera.center, self._camera.zoom, self._camera.orientation):
            event.disconnect(self._on_camera)
        self._canvas.removeEventFilter(self)
        self.hide()
        self.deleteLater()

    def show_cross(self, place: npt.NDArray[np.float64] | None) -> None:
        """Show a cross hair at rows and columns (2,) in the viewer's mm; None for none."""
        self._cross = place
        self._refresh()

    def pixel(self, place: Sequence[float]) -> QPointF:
        """Return where on the canvas a row and a column, in the viewer's mm, lie."""
        camera = self._viewer.scene.camera
        vertical, horizontal = camera.orientation2d
        way = (np.asarray(place) - camera.center[-2:]) * camera.zoom
        down = way[0] if vertical == "down" else -way[0]
        right = way[1] if horizontal == "right" else -way[1]
        return QPointF(self._canvas.width() / 2 + right, self._canvas.height() / 2 + down)

    def _refresh(self) -> None:
        self.setVisible(self._cross is not None)
        self.update()

    def _on_camera(self) -> None:
        if not self.isHidden():
            self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Cover the canvas, below what else lies on it."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._fit()
        return False

    def _fit(self) -> None:
        self.setGeometry(QRect(0, 0, self._canvas.width(), self._canvas.height()))
        self.lower()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the lines."""
        painter = QPainter(self)
        if self._cross is not None:
            painter.setPen(CROSS_HAIR)
            here = self.pixel(self._cross.tolist()).toPoint()
            for line in cross_lines(here, self.rect()):
                painter.drawLine(*line)
        painter.end()
