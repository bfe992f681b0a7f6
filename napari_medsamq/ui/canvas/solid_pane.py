"""A small picture of the structures as solids, which the mouse turns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPoint, QRect, Qt, Signal
from qtpy.QtGui import QImage, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_medsamq.array_types import Float64, UInt8
from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.canvas.edge_letters import UNKNOWN, edge_letters
from napari_medsamq.ui.canvas.plane_pane import CROSS_HAIR, cross_lines, write, write_letters
from napari_medsamq.ui.canvas.prompt_layers import STILL
from napari_medsamq.ui.canvas.solid import FRONT, Solid, draw_solid

# Of a turn for each pixel of a drag.
_RADIANS = 0.012


class SolidPane(QWidget):
    """Paints a solid; a drag turns it, a click goes to a place on it.

    Parameters
    ----------
    volume : Volume
    """

    chosen = Signal(object)  # a place (z, y, x) in mm of the array axes

    def __init__(self, volume: Volume) -> None:
        super().__init__()
        self._volume = volume
        self._solid: Solid | None = None
        self._colors: UInt8 = np.zeros((1, 4), np.uint8)
        self._turn = FRONT
        self._cross = np.zeros(3)
        self._picture = QImage()
        self._points: npt.NDArray[np.int64] = np.full((1, 1), -1)
        self._pressed: QPoint | None = None
        self._last = QPoint()
        self.setMinimumSize(120, 90)
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        self.setAccessibleName("Structures as solids beside the picture")
        self.setToolTip(
            "Drag: turn. Click: go there in all planes. Double click: from the front again."
        )

    @property
    def solid(self) -> Solid | None:
        """What is painted."""
        return self._solid

    def show_solid(self, solid: Solid | None, colors: UInt8) -> None:
        """Show a solid in the colours (n, 4) uint8 of its labels; None for nothing."""
        if solid is not self._solid or not np.array_equal(colors, self._colors):
            self._solid, self._colors = solid, colors
            self._draw()

    def show_cross(self, place: Float64) -> None:
        """Show where a place (z, y, x) in mm lies in front of, in, or behind the solid."""
        if not np.array_equal(place, self._cross):
            self._cross = place
            self.update()

    def _draw(self) -> None:
        self._picture = QImage()
        side = round(min(self.width(), self.height()) * self.devicePixelRatioF())
        if self._solid is not None and side > 0:
            drawn, self._points = draw_solid(self._solid, self._turn, self._colors, side)
            self._picture = QImage(
                drawn.tobytes(), side, side, 3 * side, QImage.Format.Format_RGB888
            ).copy()
        self.update()

    @property
    def _target(self) -> QRect:
        side = min(self.width(), self.height())
        return QRect((self.width() - side) // 2, (self.height() - side) // 2, side, side)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the solid, where the cross hair is, and how the patient is turned."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        if self._solid is None:
            painter.setPen(Qt.GlobalColor.lightGray)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "No structure yet")
        else:
            target = self._target
            painter.drawImage(target, self._picture)
            place = self._turn @ (self._cross - self._solid.middle) / self._solid.radius
            x, y = target.topLeft().x(), target.topLeft().y()
            here = QPoint(
                x + round((place[0] + 1) / 2 * target.width()),
                y + round((place[1] + 1) / 2 * target.height()),
            )
            painter.setPen(CROSS_HAIR)
            for line in cross_lines(here, QRect(here.x() - 14, here.y() - 14, 29, 29)):
                painter.drawLine(*line)
            letters = UNKNOWN
            if self._volume.orientation_known:
                letters = edge_letters(self._volume.affine, self._turn[0], self._turn[1])
            write_letters(painter, self.rect(), letters)
        write(painter, self.rect(), "top left", "Solid")
        painter.end()

    def resizeEvent(self, event: object) -> None:  # noqa: N802 (Qt's name)
        """Fill the pane."""
        self._draw()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Begin to turn."""
        self._pressed = self._last = event.pos()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Turn with the mouse."""
        if self._pressed is None or not event.buttons():
            return
        way, self._last = event.pos() - self._last, event.pos()
        across, along = way.x() * _RADIANS, way.y() * _RADIANS
        self._turn = _about_down(-across) @ _about_right(along) @ self._turn
        self._draw()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Go where was clicked, if the mouse did not move."""
        pressed, self._pressed = self._pressed, None
        if pressed is None or (event.pos() - pressed).manhattanLength() > STILL:
            return
        place = event.pos() - self._target.topLeft()
        side = len(self._points)
        row = place.y() * side // max(1, self._target.height())
        column = place.x() * side // max(1, self._target.width())
        if self._solid is not None and 0 <= row < side and 0 <= column < side:
            point = int(self._points[row, column])
            if point >= 0:
                self.chosen.emit(self._solid.places[point].astype(float))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Show it from the front."""
        self._turn = FRONT
        self._draw()


def _about_down(angle: float) -> Float64:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])


def _about_right(angle: float) -> Float64:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
