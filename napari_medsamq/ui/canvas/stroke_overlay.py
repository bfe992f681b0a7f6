"""The line that a hand draws on the picture, until it lets go."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF

from napari_medsamq.array_types import Float64
from napari_medsamq.ui.canvas.picture_overlay import PictureOverlay

_WIDTH, _EDGE = 2.4, QColor(0, 0, 0, 190)


class StrokeOverlay(PictureOverlay):
    """Paints a scribble, or the outline of a lasso with the line that closes it."""

    _path: Sequence[Float64] = ()
    _color, _closed = "white", False

    def show_stroke(self, path: Sequence[Float64], color: str, *, closed: bool) -> None:
        """Show a line through places (rows, columns) in the viewer's mm; none hides it."""
        self._path, self._color, self._closed = path, color, closed
        self.setVisible(bool(path))
        self.update()

    def paint_lines(self, painter: QPainter) -> None:
        """Paint the line, between darker ones that are seen on bone as on air."""
        line = QPolygonF([self.pixel(place) for place in self._path])
        for pen in (QPen(_EDGE, _WIDTH + 2), QPen(QColor(self._color), _WIDTH)):
            painter.setPen(pen)
            painter.drawPolyline(line)
            if self._closed and len(self._path) > 1:
                pen.setStyle(Qt.PenStyle.DotLine)
                painter.setPen(pen)
                painter.drawLine(line[len(self._path) - 1], line[0])
